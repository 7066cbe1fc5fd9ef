"""``python -m faultplane``: the command line."""

import sys

from faultplane.cli import main

sys.exit(main())
