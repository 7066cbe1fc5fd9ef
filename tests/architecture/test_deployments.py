"""The examples of deployments are what systemd, Kubernetes and Compose take.

How they work is played in tests/fault/test_sidecars.py.
"""

from __future__ import annotations

import ast
import os
import re
import shutil
import subprocess
from pathlib import Path

import pytest

EXAMPLES = Path(__file__).parents[2] / "examples"
AS_ROOT = pytest.mark.skipif(os.geteuid() != 0, reason="only root mounts, and gives files away")


def load(path):
    """Every document of an example."""
    yaml = pytest.importorskip("yaml", reason="PyYAML is not there")
    with open(EXAMPLES / path) as file:
        return list(yaml.safe_load_all(file))


@AS_ROOT
def test_the_compose_file_has_users_and_mounts_like_the_pods(tmp_path):
    (compose,) = load("docker/compose.yaml")
    shop, errors = compose["services"]["shop"], compose["services"]["errors"]
    assert shop["user"].partition(":")[0] != errors["user"].partition(":")[0]
    assert errors["volumes"] == [f"{shop['volumes'][0]}:ro"]
    assert set(shop["group_add"]) == set(errors["group_add"]) == {"7000"}
    options = compose["volumes"]["faults"]["driver_opts"]
    path = tmp_path / "volume"
    path.mkdir()
    if shutil.which("mount") is None:
        pytest.skip("mount is not there")
    words = ["mount", "-t", options["type"], "-o", options["o"], options["device"], path]
    done = subprocess.run(words, capture_output=True, text=True, check=False)
    if done.returncode:
        pytest.skip(f"nothing can be mounted here: {done.stderr.strip()}")
    try:
        status = path.stat()
        assert (status.st_uid, status.st_gid) == (0, 7000)
        assert status.st_mode & 0o7777 == 0o2770
    finally:
        subprocess.run(["umount", path], check=True)


# -------------------------------------------------------------------------------------- systemd


@AS_ROOT
def test_the_directory_of_tmpfiles_is_shared_by_its_group_alone(tmp_path):
    if shutil.which("systemd-tmpfiles") is None:
        pytest.skip("systemd-tmpfiles is not there")
    try:
        os.chown(tmp_path, 0, 7000)
    except OSError as error:
        pytest.skip(f"no other group can be given here: {error}")
    (tmp_path / "etc").mkdir()
    (tmp_path / "etc/group").write_text("root:x:0:\nfaultplane:x:7000:\n")
    (tmp_path / "etc/passwd").write_text("root:x:0:0::/:/bin/sh\n")
    file = EXAMPLES / "tmpfiles.d/faultplane.conf"
    words = ["systemd-tmpfiles", f"--root={tmp_path}", "--create", file]
    subprocess.run(words, check=True)
    status = (tmp_path / "run/faultplane").stat()
    assert (status.st_uid, status.st_gid, oct(status.st_mode & 0o7777)) == (0, 7000, "0o3770")


def test_systemd_finds_nothing_wrong_with_the_units(tmp_path):
    if shutil.which("systemd-analyze") is None:
        pytest.skip("systemd-analyze is not there")
    program = shutil.which("true")
    for unit in (EXAMPLES / "systemd").glob("*.service"):
        text = unit.read_text()
        for venv in ("/opt/shop", "/opt/faultplane"):
            text = text.replace(f"ExecStart={venv}/bin/faultplane", f"ExecStart={program}")
        (tmp_path / unit.name).write_text(text)
    units = sorted(tmp_path.glob("*.service"))
    assert len(units) == 3
    done = subprocess.run(
        ["systemd-analyze", "verify", *units], capture_output=True, text=True, check=False
    )
    about_ours = [line for line in done.stderr.splitlines() if "shop" in line or "reader" in line]
    assert about_ours == []
    bad = tmp_path / "bad-shop.service"
    bad.write_text(units[-1].read_text().replace("MemoryMax=1G", "MemoryMax=much"))
    told = subprocess.run(["systemd-analyze", "verify", bad], capture_output=True, text=True)
    assert "Invalid memory limit" in told.stderr, "a control"


@pytest.mark.parametrize("version", ["1.29", "1.33"])
def test_the_manifests_fit_the_schema_of_kubernetes(version):
    validate = pytest.importorskip(
        "kubernetes_validate", reason="kubernetes-validate is not there (pip install it)"
    )
    for name in ("sidecar", "daemonset"):
        for document in load(f"kubernetes/{name}.yaml"):
            validate.validate(document, version, strict=True)
            spec = document["spec"]["template"]["spec"]
            spec["containers"][0]["readOnlyRoot"] = True
            with pytest.raises(validate.ValidationError):
                validate.validate(document, version, strict=True)


PHRASE = re.compile(r"`([^`]+)`")
VARIABLE = re.compile(
    r"…|: |/dev/shm|file system(?= has)|memory cgroup(?= has left (?!and))|[0-9][0-9.]*(?: MiB)?"
)


def sentences(root):
    """Every text of the package that has words in it, with … in place of what is filled in."""
    for path in (root / "src/faultplane").rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.JoinedStr):
                yield "".join(
                    str(part.value) if isinstance(part, ast.Constant) else "…"
                    for part in node.values
                )
            elif isinstance(node, ast.Constant) and isinstance(node.value, str):
                yield node.value


def test_what_doctor_is_documented_to_say_it_says(root):
    text = (root / "docs/containers.md").read_text().replace("<uid>", "…")
    table = text.partition("| situation |")[2].partition("\n\n")[0]
    phrases = [phrase for line in table.splitlines()[2:]
               for phrase in PHRASE.findall(line.rstrip("|").rpartition("|")[2])]  # fmt: skip
    parts = [part for phrase in phrases for part in VARIABLE.split(phrase) if len(part) > 7]
    assert len(parts) > 25
    said = " ".join(sentences(root))
    system = {"(tmpfs, nosuid, nodev, noexec)", "Read-only file system", "Permission denied"}
    missing = [part for part in parts if part not in said and part not in system]
    assert missing == []
    assert "no such sentence" not in said, "a control"
