"""Writers, a closer and retirer, a preparer, readers of rows and of counts: threads of one process.

    python threads_driver.py DIRECTORY ROWS

Run by ``tools/sanitizers.py`` on a core that ThreadSanitizer watches. Exits with 1 when a reader
saw what nobody wrote, or when rows or counts are not exact in the end.
"""

from __future__ import annotations

import sys
import threading
from pathlib import Path
from typing import Any

import domain_fixture

from faultplane._core import threads
from faultplane._core.memory import Mapping
from faultplane.schema import RETIRED_ROWS_SHIFT

WRITERS = 4


class Core:
    """What the fixture takes for a core: here there is no more of it."""

    Mapping = Mapping


def main(directory: str, rows: int) -> int:
    path = domain_fixture.make(
        Path(directory) / "d", lanes=6, segments_max=4, dictionary_bytes=1 << 16
    )
    files = domain_fixture.Files(path, Core)
    bindings = [files.binding(slot=slot) for slot in range(WRITERS)]
    writers = [threads.Thread(binding) for binding in bindings]
    counts = [binding.aggregate for binding in bindings]
    reader, counter = threads.Reader(bindings[0]), threads.Reader(bindings[0])
    found: dict[str, Any] = {"rehomed": 0}

    def write(writer: Any) -> None:
        found[f"writer {writer.slot}"] = writer.write(rows)

    def other(name: str, work: Any, *arguments: Any) -> None:
        found[name] = work(*arguments)

    threads.start()
    others = [
        threading.Thread(target=other, args=words)
        for words in (
            ("rows looked at", reader.read),
            ("names", threads.Reader(bindings[0]).names),
            ("counted", counter.count, counts),
            ("rows closed", threads.Upkeep(bindings[0], b"closer").run, WRITERS),
            ("prepared", threads.Upkeep(bindings[0], b"preparer").prepare),
        )
    ]
    writing = [threading.Thread(target=write, args=(writer,)) for writer in writers]
    for one in others + writing:
        one.start()
    for one in writing:
        one.join()
    threads.stop()
    for one in others:
        one.join()
    found["rehomed"] = sum(found.get(f"writer {slot}", 0) for slot in range(WRITERS))
    retired = files.read_registry("retired") >> RETIRED_ROWS_SHIFT
    found["rows"] = retired + reader.rows()
    found["counts"] = sum(reader.sum_of(one) for one in counts)
    print(", ".join(f"{name}: {value}" for name, value in found.items()))
    exact = found["rows"] == found["counts"] == WRITERS * rows
    if wrong := threads.unexpected():
        print(f"readers saw {wrong} times what nobody wrote")
    return 0 if exact and not wrong and found["rehomed"] and retired else 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1], int(sys.argv[2])))
