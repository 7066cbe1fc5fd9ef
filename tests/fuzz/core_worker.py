"""One process in which libFuzzer executes what the compiled core reads.

    python -m fuzz.core_worker KIND EXECUTIONS SEED DIRECTORY PLACE

Runs in the environment of `core_build.environment`; ends as libFuzzer does. ``KIND`` is
dictionary, segment or registry.
"""

from __future__ import annotations

import os
import struct
import sys
from pathlib import Path

from faultplane import schema
from fuzz import bases, places
from fuzz.kinds import unused
from fuzz.scene import Scene

KINDS = ("dictionary", "segment", "registry")
STORE = "python"
"""Whose files: its segments have one lane, and the compiled core reads them as its own."""
SECONDS_MAX = 20
MEMORY_MB_MAX = 2048


def texts(dictionary: bytes) -> list[tuple[int, bytes]]:
    """(Hash, bytes) of the published entries of a dictionary."""
    shape = schema.dictionary_shape(len(dictionary))
    found = []
    for code in range(1, shape.entries_max):
        word, key = struct.unpack_from("<QQ", dictionary, shape.entries_offset + 16 * code)
        if word:
            start = shape.bytes_offset + (word & 0xFFFF_FFFF) - 1
            found.append((key, dictionary[start : start + (word >> 32)]))
    return found


def main(words: list[str]) -> int:
    """Hand the process over to libFuzzer."""
    kind, executions, seed, where, place = words
    directory = Path(where)
    for path in (directory / "corpus", directory / "failed"):
        path.mkdir(parents=True, exist_ok=True)
    scene = Scene(STORE, place)
    files = bases.load(STORE)
    listed = {
        "dictionary": [("dict-1", "dict"), ("stacks-1", "stacks")],
        "segment": [("seg-1", "seg")],
        "registry": [("registry", "registry")],
    }[kind]
    places_of = {
        "dictionary": places.dictionary, "segment": places.segment, "registry": places.registry,
    }[kind]  # fmt: skip
    contents = [(name, prefix, files[name]) for name, prefix in listed]
    if kind == "segment":
        contents.insert(0, ("seg-1", "seg", unused(files["seg-1"])))
    # Whoever is refused a segment finds the next as it was published.
    following = unused(files["seg-2"])
    (scene.path / "seg-2").write_bytes(following)
    written = {
        "dictionary": len(files["dict-1"]), "registry": len(files["registry"]),
        "segment": schema.segment_shape(bases.LANES[STORE]).column_offsets[0],
    }[kind]  # fmt: skip
    known = texts(files["dict-1"])[:24] + texts(files["stacks-1"])[:8]
    os.link(scene.path / "seg-1", scene.path / "spare")
    import core_readers

    arguments = [
        f"fuzz-core-{kind}", f"-runs={executions}", f"-seed={int(seed) % (1 << 32) or 1}",
        "-max_len=512", f"-timeout={SECONDS_MAX}", f"-rss_limit_mb={MEMORY_MB_MAX}",
        f"-artifact_prefix={directory}/failed/", "-print_final_stats=1", "-len_control=0",
        "-reload=0", f"-close_fd_mask={os.environ.get('FUZZ_CLOSE', '0')}",
        str(directory / "corpus"),
    ]  # fmt: skip
    return core_readers.run(
        kind,
        [(name.encode(), prefix.encode(), data) for name, prefix, data in contents],
        [
            b"".join(struct.pack("<II", *place) for place in places_of(data))
            for _, _, data in contents
        ],
        known,
        os.open(scene.path, os.O_RDONLY | os.O_DIRECTORY),
        bases.LANES[STORE],
        following,
        written,
        arguments,
    )


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
