"""The examples for containers, played: a reader of another user, in namespaces of its own.

It sees records, counts and deaths of the service. It sees nothing else of the host, nor shows
anybody what it could read itself.
"""

from __future__ import annotations

import json
import os
import shutil
import signal
import sys
import time

import pods
import pytest
from container import Container, several_users

pytestmark = [
    pytest.mark.fault,
    pytest.mark.skipif(sys.platform != "linux", reason="namespaces are Linux's"),
    several_users,
]

SERVICE = """
fp.init()
block = fp.capture("GET /pay")
block.__enter__()
fail(600)
fp.counter("hits").add(5)
"""

FOLLOW = """
import signal
from faultplane.cli import main
there, here = os.pipe()
os.set_blocking(there, False)
child = os.fork()
if not child:
    os.dup2(here, 1)
    sys.stdout = open(1, "w", closefd=False)
    code = 99
    try:
        code = main({words!r})
    except SystemExit as error:
        code = error.code
    finally:
        os._exit(code)

def said():
    try:
        return os.read(there, 1 << 20).decode()
    except BlockingIOError:
        return ""
"""


@pytest.fixture
def contained(container_environment, tmp_path):
    """Function ``(pod, container, volume, **more) -> Container`` of a manifest."""
    started = []

    def start(pod, container, volume, more="", **options):
        place = tmp_path / f"root-{len(started)}"
        place.mkdir()
        made = Container(
            container_environment,
            setup=pods.root_of(place, container, volume, more.format(root=place)),
            root=place,
            user=pods.identity(pod, container),
            variables={**pods.variables(container), **options.pop("variables", {})},
            **options,
        )
        started.append(made)
        return made

    yield start
    for one in started:
        one.kill()


@pytest.fixture
def empty_dir(disk_in_memory):
    """Function ``(pod) -> path`` of its volume in memory, as kubelet makes it."""

    def make(pod):
        (volume,) = pod.volumes
        assert volume["emptyDir"]["medium"] == "Memory"
        size = volume["emptyDir"]["sizeLimit"].replace("Mi", "m")
        return disk_in_memory(f"size={size},mode=2777,gid={pod.securityContext['fsGroup']}")

    return make


def wait_for(look, enough):
    end, seen = time.monotonic() + 60, ""
    while not enough(seen):
        assert time.monotonic() < end, seen
        seen += look()
    return seen


def test_a_sidecar_reads_what_the_service_records_and_how_it_died(contained, empty_dir):
    pod = pods.pod_of(pods.load("kubernetes/sidecar.yaml"), "Deployment")
    volume = empty_dir(pod)
    reader = contained(pod, pod.containers["errors"], volume)
    reader.do(FOLLOW.format(words=pod.containers["errors"]["command"][1:]))
    service = contained(pod, pod.containers["shop"], volume)
    assert pods.identity(pod, pod.containers["errors"])[0] == reader.ask("os.getuid()")
    assert service.ask("os.getuid()") != reader.ask("os.getuid()")
    service.do(SERVICE)
    assert service.ask("lifecycle.status().reason") == ""
    assert service.ask("lifecycle._process.store.header.budget_bytes") == 32 << 20
    lines = wait_for(lambda: reader.ask("said()"), lambda seen: seen.count("\n") >= 600)
    rows = [json.loads(line) for line in lines.splitlines()]
    assert {(row["operation"], row["type"], row["message"]) for row in rows} == {
        ("charge", "ValueError", "no")
    }
    assert reader.ask("seen('default', '/faults')") == [600, 600, 5, 0]
    service.kill()
    (death,) = reader.ask("fp.attach('default', '/faults').deaths_rows()")
    assert [entry["operation"] for entry in death["in_flight"]] == ["GET /pay"]
    assert (death["service"], death["how"], death["stored"]) == ("shop", "unknown", False)
    again = contained(pod, pod.containers["shop"], volume)  # the container is started again
    again.do("fp.init()")
    assert reader.ask("seen('default', '/faults')") == [600, 600, 5, 1]
    assert reader.ask("fp.attach('default', '/faults').deaths_rows()[0]['stored']")
    reader.do("os.kill(child, signal.SIGTERM)")
    assert reader.ask("os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])") == 143


def test_a_reader_that_is_the_first_process_of_its_container_ends_when_it_is_told(
    contained, empty_dir
):
    pod = pods.pod_of(pods.load("kubernetes/sidecar.yaml"), "Deployment")
    reader = contained(pod, pod.containers["errors"], empty_dir(pod))
    assert reader.ask("os.getpid()") == 1
    words = pod.containers["errors"]["command"][1:]
    code = """
from faultplane.cli import main
print('"on"', flush=True)
try:
    main({words!r})
except SystemExit as error:
    os._exit(error.code)
"""
    assert reader.do(code.format(words=words)) == "on"
    end = time.monotonic() + 60
    while not reader.catches(signal.SIGTERM):  # until then the kernel drops it, as for any init
        assert time.monotonic() < end
    os.kill(reader.pid, signal.SIGTERM)
    assert reader.process.wait(60) == 143


def test_a_reader_sees_the_volume_and_nothing_else_and_cannot_change_it(contained, empty_dir):
    pod = pods.pod_of(pods.load("kubernetes/sidecar.yaml"), "Deployment")
    volume = empty_dir(pod)
    service = contained(pod, pod.containers["shop"], volume)
    service.do(SERVICE)
    reader = contained(pod, pod.containers["errors"], volume)
    found = reader.ask(
        "sorted(os.path.join(path, name) for path, _, names in os.walk('/') for name in names "
        "if not path.startswith('/proc'))"
    )
    assert found
    assert {path.split("/")[1] for path in found} == {"faults"}
    pids = reader.ask("[name for name in os.listdir('/proc') if name.isdigit()]")
    assert pids == ["1"]
    for path in (found[0], "/faults/new", "/new"):
        said = reader.do(
            f"try:\n    os.open({path!r}, os.O_WRONLY | os.O_CREAT)\n    answer = 'written'\n"
            "except OSError as error:\n    answer = error.strerror"
        )
        assert said in ("Read-only file system", "Permission denied"), path


LINKS = """
import shutil
base = os.environ["FAULTPLANE_DIR"]
store = lifecycle.status().store_path
for name in ("seg-999", "dict-999", "stacks-999", "agg-999", "breath-999", "deaths-old"):
    os.symlink("/secret/token", os.path.join(store, name))
os.mkfifo(os.path.join(store, "seg-998"))
os.symlink("/secret", os.path.join(base, "linked"))
os.symlink("/secret/store", os.path.join(base, "default", "1-python" if "cython" in store
                                           else "1-cython"))
exec(compile("def leak():\\n raise KeyError(1)", "/secret/token", "exec"))
try:
    leak()
except KeyError as error:
    fp.record(error, "leak")
"""

COMMANDS = (
    ["tail", "--no-follow", "-n", "9999", "--json"],
    ["top", "--once", "--json"],
    ["deaths", "--all", "--json"],
    ["doctor", "--json"],
    ["gc"],
)


def test_nothing_that_the_reader_may_read_is_shown_by_what_the_service_leaves_there(
    contained, empty_dir
):
    """A service that was taken over puts links, and names of files, in the way of its reader."""
    pod = pods.pod_of(pods.load("kubernetes/sidecar.yaml"), "Deployment")
    volume = empty_dir(pod)
    service = contained(pod, pod.containers["shop"], volume)
    service.do(SERVICE)
    service.do(LINKS)
    secret = "mkdir {root}/secret; printf 'swordfish\\nswordfish\\n' > {root}/secret/token"
    reader = contained(pod, pod.containers["errors"], volume, more=secret)
    assert reader.ask("open('/secret/token').read()") == "swordfish\nswordfish\n", "a control"
    shown = ""
    for words in COMMANDS:
        said, _ = reader.ask(f"command(*{[*words, '--directory', '/faults']!r})")
        shown += said
    with_stack = "fp.attach('default', '/faults')"
    shown += reader.ask(
        f"[str({with_stack}.stack(row['fingerprint'])) for row in {with_stack}.counts_rows()]"
        ".__str__()"
    )
    assert "/secret/token" in shown, "it is named"
    assert '"operation": "leak"' in shown or '"operation":"leak"' in shown
    assert "swordfish" not in shown
    assert reader.ask("seen('default', '/faults')")[0] == 601, "and hides nothing either"


def test_a_reader_of_the_node_sees_the_services_of_its_pods(contained, tmp_path):
    documents = pods.load("kubernetes/daemonset.yaml")
    node = pods.pod_of(documents, "DaemonSet")
    pod = pods.pod_of(documents, "Deployment")
    if shutil.which("setpriv") is None:
        pytest.skip("setpriv is not there")
    tmp_path.chmod(0o755)
    path = tmp_path / "run-faultplane"
    path.mkdir()  # as kubelet does
    first = node.containers["directory"]
    pods.run_as(pods.identity(node, first), first["command"], {"/faults": path})
    assert (path.stat().st_gid, oct(path.stat().st_mode & 0o7777)) == (7000, "0o3770")
    shop = pod.containers["shop"]
    other = {**shop, "securityContext": {**shop["securityContext"], "runAsUser": 7011,
                                         "runAsGroup": 7011}}  # fmt: skip
    twice = [contained(pod, shop, path, umask=0o077) for _ in range(2)]  # two pods of a service
    mail = contained(pod, other, path, variables={"FAULTPLANE_DOMAIN": "mail"})
    for service in (*twice, mail):
        service.do(SERVICE)
        assert service.ask("lifecycle.status().reason") == ""
    reader = contained(node, node.containers["shop"], path)
    words = node.containers["shop"]["command"][1:]
    reader.do(FOLLOW.format(words=words))
    lines = wait_for(lambda: reader.ask("said()"), lambda seen: seen.count("\n") >= 1000)
    assert len(lines.splitlines()) == 1000, "the last thousand, as it is told"
    assert reader.ask("seen('shop', '/faults')") == [1200, 1200, 10, 0]
    assert reader.ask("seen('mail', '/faults')") == [600, 600, 5, 0]
    twice[0].kill()
    (death,) = reader.ask("fp.attach('shop', '/faults').deaths_rows()")
    assert [entry["operation"] for entry in death["in_flight"]] == ["GET /pay"]
    mail.do("""
import shutil
try:
    shutil.rmtree("/faults/shop")
    answer = "removed"
except PermissionError as error:
    answer = "kept"
""")
    assert reader.ask("seen('shop', '/faults')")[0] == 1200, "no service takes away another's"
