"""``python -m benchmarks.peers``: all of ``faultplane bench``, its options included."""

from __future__ import annotations

import sys

from faultplane.cli import main

if __name__ == "__main__":
    sys.exit(main(["bench", *sys.argv[1:]]))
