"""Kubernetes manifests and Compose files, played: their users, groups, mounts and commands.

A container of a pod becomes a process in namespaces of its own whose root is empty but for what the
manifest mounts, /proc and a /dev/shm of 64 MiB.
"""

from __future__ import annotations

import subprocess
from pathlib import Path
from types import SimpleNamespace

import pytest

EXAMPLES = Path(__file__).parents[2] / "examples"


def load(path):
    """Every document of an example."""
    yaml = pytest.importorskip("yaml", reason="PyYAML is not there")
    with open(EXAMPLES / path) as file:
        return list(yaml.safe_load_all(file))


def pod_of(documents, kind):
    """What a pod of the only resource of that kind has, its containers by name."""
    (found,) = (document for document in documents if document["kind"] == kind)
    spec = found["spec"]["template"]["spec"]
    containers = {one["name"]: one for key in ("initContainers", "containers")
                  for one in spec.get(key, [])}  # fmt: skip
    return SimpleNamespace(**{**spec, "containers": containers})


def identity(pod, container):
    """(uid, gid, further groups…) that Kubernetes gives a container."""
    merged = {**pod.securityContext, **container["securityContext"]}
    further = list(merged.get("supplementalGroups", []))
    if "fsGroup" in merged:
        further.append(merged["fsGroup"])
    return (merged["runAsUser"], merged["runAsGroup"], *further)


def variables(container):
    return {one["name"]: one["value"] for one in container.get("env", [])}


def root_of(place, container, volume, more=""):
    """Shell commands that make the root of a container in the directory ``place``."""
    (mount,) = container["volumeMounts"]
    inside = f"{place}{mount['mountPath']}"
    steps = [
        f"mount -t tmpfs -o mode=755 tmpfs {place}",
        f"mkdir -p {inside} {place}/proc {place}/dev/shm",
        f"mount -t proc proc {place}/proc",
        f"mount -t tmpfs -o size=64m,mode=1777 tmpfs {place}/dev/shm",
        f"mount --bind {volume} {inside}",
        *([f"mount -o remount,bind,ro {inside}"] if mount.get("readOnly") else []),
        *([more] if more else []),
        *([f"mount -o remount,ro {place}"]
          if container["securityContext"]["readOnlyRootFilesystem"] else []),
    ]  # fmt: skip
    return "; ".join(steps)


def run_as(user, command, paths):
    """Run a command of a manifest as its user, without capabilities; what it said.

    ``paths`` says where a path of the container is here.
    """
    uid, gid = user[:2]
    words = list(command)
    for inside, here in paths.items():
        words = [word.replace(inside, str(here)) for word in words]
    return subprocess.run(
        ["setpriv", f"--reuid={uid}", f"--regid={gid}", "--clear-groups", "--bounding-set=-all",
         "--inh-caps=-all", *words],
        capture_output=True, text=True, check=True,
    ).stdout  # fmt: skip
