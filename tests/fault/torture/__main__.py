"""``python -m torture RUN [options]`` in ``tests/fault``: a run by name, or all of them.

python -m torture                        every run at its full length
python -m torture kill --help            what one run does, and its options
python -m torture kill --core python --seed 7 --json
"""

from __future__ import annotations

import importlib
import signal
import sys

RUNS = ("kill", "storm", "fold", "readers")


def main(words: list[str]) -> int:
    """The exit code of a run; of all of them, the worst."""
    if words and words[0] in RUNS:
        return importlib.import_module(f"torture.{words[0]}").main(words[1:])
    if words and words[0] in ("-h", "--help"):
        print(__doc__)
        print(f"RUN is one of {', '.join(RUNS)}.")
        return 0
    if words:
        print(__doc__, file=sys.stderr)
        print(f"RUN must be one of {', '.join(RUNS)}, got {words[0]!r}", file=sys.stderr)
        return 2
    return max(main([name]) for name in RUNS)


if __name__ == "__main__":
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # so that directories are removed
    try:
        sys.exit(main(sys.argv[1:]))
    except KeyboardInterrupt:
        print("interrupted", file=sys.stderr)
        sys.exit(130)
