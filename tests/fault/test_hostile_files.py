"""Files that are not what their name says, each kind in turn: told by name, and no harm to others.

A domain that two processes left, one buried and one not, is copied; one of its files is cut,
emptied, overwritten, of another version, or something else under its name. Then come the commands
that read, a writer that joins, and a maintainer: none hangs, raises or changes what is good, and
what can still be read is. ``SWEEP=all`` tries every file with every damage.
"""

from __future__ import annotations

import itertools
import json
import os

import pytest

pytestmark = [pytest.mark.fault, pytest.mark.slow]

SAMPLE = 14
KINDS = (
    "registry", "owners", "locks", "seg-1", "seg-2", "dict-1", "stacks-1", "agg-0", "agg-retired",
    "breath-0", "deaths", "tmp-ready", "tmp-next-0", "tmp-unknown", "strange",
)  # fmt: skip
DAMAGES = (
    "missing", "empty", "short", "half", "garbage", "version", "link", "dangling", "directory",
    "fifo", "socket", "device", "hard link",
)  # fmt: skip
CASES = list(itertools.product(KINDS, DAMAGES))

DRIVER = r"""
import contextlib, hashlib, io, json, os, random, shutil, signal, socket, stat, struct, sys
import traceback, zlib
import faultplane as fp
from faultplane import cli, schema
from faultplane._backend import CORE_NAME, core
from faultplane.cli import deaths, doctor, gc, query, show, tail, top  # before the forks
from faultplane.store import counts, lifecycle, maintain, owners
import pyarrow, duckdb

base, cases, rng = sys.argv[1], json.loads(sys.argv[2]), random.Random(int(sys.argv[3]))
everything = sys.argv[4] == "all"
NAME = f"1-{CORE_NAME}"
FOREIGN = os.path.join(base, "of-somebody-else")
with open(FOREIGN, "wb") as file:
    file.write(b"private\n" * 512)
BASE = os.path.join(base, "base")
os.environ["FAULTPLANE_DIR"] = BASE
READING = (
    ["deaths"], ["tail", "--no-follow"], ["query", "select count(*) from records"],
    ["query", "select sum(count) from counts"], ["show", "0"], ["gc", "--dry-run"],
)
TIDYING = ["top", "--once", "--json"]  # it buries the dead while it looks
FAILED = []
HEADS = 16_384  # header and lane words, which a maintainer closes

def forked(work, *args, seconds=30):
    "Exit status of a child that does ``work``, and what it wrote to standard error."
    said, say = os.pipe()
    child = os.fork()
    if child == 0:
        os.dup2(say, 2)
        os.close(said)
        sys.stderr = open(2, "w", closefd=False)
        signal.alarm(seconds)
        status = 70
        try:
            status = work(*args) or 0
        except SystemExit as left:
            status = left.code or 0
        except BaseException:  # whatever it is, the parent's code must not go on here
            traceback.print_exc()
        finally:
            os._exit(status)
    os.close(say)
    with os.fdopen(said, "rb") as file:
        text = file.read().decode()
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]), text

class Lost(Exception):
    pass

def write(rows, ending):
    fp.init(service="shop", domain="default")
    core.enter("in flight")
    for row in range(rows):
        try:
            raise Lost(f"row {row}")
        except Lost as error:
            fp.record(error, "charge")
    fp.counter("hits").add(rows)
    if ending == "kill":
        os.kill(os.getpid(), 9)
    lifecycle.shutdown()

def digest(directory, without, from_rows=False):
    found = {}
    for name in sorted(os.listdir(directory)):
        path = os.path.join(directory, name)
        if name != without and stat.S_ISREG(os.lstat(path).st_mode):
            with open(path, "rb") as file:
                file.seek(HEADS if name.startswith("seg-") and from_rows else 0)
                found[name] = hashlib.sha256(file.read()).hexdigest()
    return found

def new_version(data, name):
    "The same file of a version to come, with a checksum that is right."
    layouts = {
        "registry": schema.REGISTRY, "seg": schema.SEGMENT, "dict": schema.DICTIONARY,
        "stacks": schema.DICTIONARY, "agg": schema.AGGREGATE, "breath": schema.BREATH,
    }
    layout = layouts.get(name.partition("-")[0])
    if layout is None:
        return data[::-1]
    data = bytearray(data)
    layout.write(data, 0, layout_version=99)
    if "crc" in layout.offset:
        at = layout.offset["crc"]
        layout.write(data, 0, crc=zlib.crc32(data[:at]))
    return bytes(data)

def damage(path, how):
    try:
        with open(path, "rb") as file:
            data = file.read()
        os.unlink(path)
    except FileNotFoundError:
        data = b"something"
    changed = {
        "empty": b"", "short": data[:7], "half": data[: len(data) // 2],
        "garbage": rng.randbytes(len(data)), "version": new_version(data, os.path.basename(path)),
    }
    if how in changed:
        with open(path, "wb") as file:
            file.write(changed[how])
    elif how == "link":
        os.symlink(FOREIGN, path)
    elif how == "dangling":
        os.symlink("/proc/nonexistent/file", path)
    elif how == "directory":
        os.mkdir(path)
        with open(os.path.join(path, "inside"), "w"):
            pass
    elif how == "fifo":
        os.mkfifo(path)
    elif how == "socket":
        one = socket.socket(socket.AF_UNIX)
        here = os.getcwd()
        os.chdir(os.path.dirname(path))
        one.bind(os.path.basename(path))
        os.chdir(here)
    elif how == "device":
        make = os.mknod if os.geteuid() == 0 else lambda path, *_: os.mkfifo(path)
        make(path, 0o600 | stat.S_IFCHR, os.makedev(1, 5))
    elif how == "hard link":
        os.link(FOREIGN, path)

def run(words, out):
    with open(out, "w") as file, contextlib.redirect_stdout(file):
        return cli.main(words)

def joined():
    status = fp.init(service="joins", domain="default")
    lifecycle._process.retry_at = 0.0
    for row in range(20):
        try:
            raise Lost(f"row {row}")
        except Lost as error:
            fp.record(error, "joins")
    fp.counter("joined").add(7)
    own = fp.init().counts_rows()
    assert sum(row["count"] for row in own if row["operation"] == "joins") == 20, own
    lifecycle.shutdown()

def maintained():
    for report in maintain.maintain(os.path.join(BASE, "default")):
        print(report.skipped, *report.problems, sep="\n", file=sys.stderr)

def expect(condition, case, *told):
    if not condition:
        FAILED.append([*case, *map(str, told)])

def command(case, words, out):
    status, said = forked(run, words, out)
    with open(out) as file:
        text = file.read()
    expect(status in (0, 1, 2), case, words, status, said, text)
    expect("Traceback" not in said + text, case, words, said)
    return status, text, said

def try_case(kind, how):
    case = kind, how
    store = os.path.join(BASE, "default", NAME)
    shutil.rmtree(BASE, ignore_errors=True)
    shutil.copytree(TEMPLATE, BASE)
    damage(os.path.join(store, kind), how)
    before = digest(store, kind)
    out = os.path.join(base, "out")
    status, text, said = command(case, ["doctor"], out)
    if (kind in TOLD and (kind, how) not in UNTOLD) or (kind, how) in TOLD_TOO:
        expect(status and kind in text, case, "doctor does not tell", status, text, said)
    for words in READING if everything else rng.sample(READING, 2):
        command(case, words, out)
    after = digest(store, kind)
    changed = sorted(name for name in {*before, *after} if before.get(name) != after.get(name))
    expect(not changed, case, "a reader changed", changed)
    command(case, TIDYING, out)
    before = digest(store, kind, True)
    status, said = forked(maintained)
    expect(status == 0, case, "maintain", status, said)
    status, said = forked(joined)
    expect(status == 0 and "Traceback" not in said, case, "join", status, said)
    with open(FOREIGN, "rb") as file:
        expect(file.read() == b"private\n" * 512, case, "somebody else's file was written to")
    status, said = forked(maintained)
    expect(status == 0, case, "maintain again", status, said)
    left = {name: hash for name, hash in before.items() if name in KEPT}
    after = digest(store, kind, True) if os.path.isdir(store) else {}
    gone = [name for name, hash in left.items() if after.get(name) != hash]
    expect(not gone, case, "good files changed", gone)

shutil.rmtree(BASE, ignore_errors=True)
os.mkdir(BASE, 0o700)
status, said = forked(write, 2_300, "exit")
assert status == 0, said
forked(maintained)
assert forked(write, 2_300, "kill")[0] == -9
forked(maintained)
assert forked(write, 900, "kill")[0] == -9
TEMPLATE = os.path.join(base, "template")
with open(os.path.join(BASE, "default", NAME, "tmp-next-0"), "wb") as file:
    file.write(bytes(100))
os.rename(BASE, TEMPLATE)
TOLD = {"registry", "owners", "locks", "seg-1", "seg-2", "dict-1", "agg-0", "agg-retired"}
TOLD_TOO = {("deaths", how) for how in ("link", "directory", "fifo", "socket", "hard link")}
UNTOLD = {("agg-0", "half"), *(("locks", how) for how in
          ("empty", "short", "half", "garbage", "version", "hard link"))}
KEPT = {"seg-1", "seg-2"}
for case in cases:
    try_case(*case)
print(json.dumps(FAILED))
"""


@pytest.mark.timeout(3600)
def test_whatever_a_file_is_others_go_on_and_are_told_its_name(
    core_name, core, run_python, rng, tmp_domain_dir
):
    pytest.importorskip("duckdb")  # of the extra `query`: one of the commands is `query`
    cases = CASES if os.environ.get("SWEEP") == "all" else rng.sample(CASES, SAMPLE)
    done = run_python(
        DRIVER, tmp_domain_dir, json.dumps(cases), rng.randrange(1 << 32),
        os.environ.get("SWEEP", "some"),
        core=core_name, timeout=3500, FAULTPLANE_BUDGET_BYTES="4MiB", NO_COLOR="1",
    )  # fmt: skip
    failed = json.loads(done.stdout)
    assert not failed, "\n".join(" | ".join(case) for case in failed)
