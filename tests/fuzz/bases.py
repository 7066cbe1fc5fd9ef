"""The real files that every case is a change of: one small store for each core, kept as a zip.

    python -m fuzz.bases         make them anew, after a change of the layout (in ``tests``)

Real processes write them: one that leaves in order and is folded, one that is killed and one that
leaves operations behind, both buried, and one that dies of a signal and is not.
"""

from __future__ import annotations

import io
import os
import subprocess
import sys
import tempfile
import zipfile
from functools import cache
from pathlib import Path

CORPUS = Path(__file__).resolve().parent / "corpus"
CORES = ("cython", "python")
LANES = {"cython": 2, "python": 1}
DICTIONARY_BYTES = 16 << 10
OWNER_SLOTS = 6
SEGMENTS_MAX = 4
_WRITTEN = (1980, 1, 1, 0, 0, 0)

MAKE = """
import os, sys
from faultplane import schema
from faultplane.store import domain, files, location
path, lanes, slots, segments, dictionary = sys.argv[1], *map(int, sys.argv[2:])
from faultplane._backend import CORE_NAME
where = os.path.join(path, "fuzz", location.store_name(CORE_NAME))
os.makedirs(where, mode=0o700)
shape = schema.Geometry(schema.BUDGET_BYTES_MIN, lanes, segments, slots, dictionary)
directory = location.open_directory(where)
domain._fill(directory, shape, files.forks)
"""

WRITE = """
import os, signal, sys
import faultplane as fp
from faultplane._backend import core

how = sys.argv[1]
fp.init(service=f"shop-{how}", domain="fuzz")

def charge(n):
    raise ConnectionResetError(104, f"connection to order-{n} was reset by its peer, at last")

def fail(n):
    try:
        charge(n)
    except ConnectionResetError as error:
        raise ValueError(f"order {n}") from error

def group():
    try:
        fail(7)
    except ValueError as error:
        raise ExceptionGroup("several", [error, KeyError("sku"), TimeoutError("no answer")])

for n in range(3):
    try:
        fail(n)
    except ValueError as error:
        fp.record(error, "charge", attributes={"order": n, "paid": [1.5, True, "later"]})
try:
    group()
except ExceptionGroup as error:
    fp.record(error, "refund")
try:
    raise RuntimeError("caf\\u00e9 \\u2260 th\\u00e9 " * 8)
except RuntimeError as error:
    fp.record(error, "Zahlung pr\\u00fcfen", attempt=2, duration_nano=5)
bank = fp.Dependency(
    "bank",
    retry=fp.Retry(attempts=2, backoff=fp.constant(0), budget=fp.RetryBudget()),
    breaker=fp.Breaker(window=60.0, calls_min=2, consecutive=5, slow_call=1.0, slow_rate=0.5),
    limit=3,
)
for _ in range(2):
    try:
        bank.call(charge, 7)
    except (ConnectionResetError, fp.errors.Rejected):
        pass
fp.Dependency("mail", breaker=fp.Breaker(window=20, calls_min=10)).call(len, "to whom")
fp.counter("orders").add(4)
fp.counter("refunds").add(1 << 40)
if how == "order":
    sys.exit(0)
outer = core.enter("checkout")
core.enter("charge the card")
if how == "killed":
    os.kill(os.getpid(), signal.SIGKILL)
if how == "left":
    os._exit(3)
core.install_fatal_handler()
import ctypes
ctypes.string_at(0)
"""

MAINTAIN = """
import os
from faultplane.store import maintain
for report in maintain.maintain(os.path.join(os.environ["FAULTPLANE_DIR"], "fuzz")):
    assert not report.problems and not report.skipped, report
"""


def make(core: str) -> bytes:
    """A zip of the files of a store that real processes of ``core`` wrote."""
    import faultplane

    source = str(Path(next(iter(faultplane.__path__))).parent)
    with tempfile.TemporaryDirectory(prefix="faultplane-fuzz-") as place:
        environment = {
            **{k: v for k, v in os.environ.items() if not k.startswith("FAULTPLANE_")},
            "PYTHONPATH": source,
            "FAULTPLANE_CORE": core,
            "FAULTPLANE_DIR": place,
        }

        def run(code: str, *words: object, expected: int = 0) -> None:
            command = [sys.executable, "-c", code, *map(str, words)]
            done = subprocess.run(command, env=environment, stderr=subprocess.PIPE, text=True)
            if done.returncode != expected:
                raise SystemExit(f"{words}: {done.returncode} instead of {expected}: {done.stderr}")

        run(MAKE, place, LANES[core], OWNER_SLOTS, SEGMENTS_MAX, DICTIONARY_BYTES)
        run(WRITE, "order")
        run(MAINTAIN)
        run(WRITE, "killed", expected=-9)
        run(MAINTAIN)
        run(WRITE, "left", expected=3)
        run(WRITE, "segfault", expected=-11)
        (store,) = (path for path in Path(place, "fuzz").iterdir() if path.is_dir())
        return _zipped({p.name: p.read_bytes() for p in sorted(store.iterdir())})


def _zipped(contents: dict[str, bytes]) -> bytes:
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w", zipfile.ZIP_DEFLATED, compresslevel=9) as archive:
        for name, data in contents.items():
            if not name.startswith("tmp-"):
                archive.writestr(zipfile.ZipInfo(name, _WRITTEN), data, zipfile.ZIP_DEFLATED)
    return packed.getvalue()


@cache
def load(core: str) -> dict[str, bytes]:
    """The files of the store of ``core``, by name."""
    with zipfile.ZipFile(CORPUS / f"{core}.zip") as archive:
        return {name: archive.read(name) for name in archive.namelist()}


def main() -> None:
    """Make the bases of both cores."""
    CORPUS.mkdir(exist_ok=True)
    for core in CORES:
        path = CORPUS / f"{core}.zip"
        path.write_bytes(make(core))
        load.cache_clear()
        print(f"{path}: {path.stat().st_size} bytes")
        for name, data in load(core).items():
            print(f"  {len(data):8} {name}")


if __name__ == "__main__":
    main()
