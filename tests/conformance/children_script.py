"""Children that drive both cores."""

from __future__ import annotations

import importlib

import script
from hypothesis import Phase


def run_script(core, path, seed):

    del core
    return script.main(path, seed)


def run_script_with_a_fault(core, path, seed):
    """The same with a pure core that writes one flag too many."""

    writer = importlib.import_module("faultplane._pure.writer")
    put = writer.Writer.put

    def faulty(self, *args):
        return put(self, *args[:-1], args[-1] | 128)

    writer.Writer.put = faulty
    try:
        script.main(path, seed, phases=[Phase.generate])  # found is enough; not made small
    except AssertionError as error:
        return str(error).splitlines()[0]
    return "nothing"
