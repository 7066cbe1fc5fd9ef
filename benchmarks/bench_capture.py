"""What ``capture`` costs where nothing fails, and what importing the package costs.

A core is chosen when the package is imported, so each parameter needs a process of its own, which
is how asv runs them.
"""

from __future__ import annotations

import asyncio
import os
import shutil
import tempfile

from .cores import CORES, load


def plain(a):
    """What is decorated: as little as possible."""
    return a


def numbers():
    """A generator whose steps cost as little as possible."""
    while True:
        yield 1


class Block:
    """A block or a call that ends well, in a process that records into a domain.

    ``plain_call`` and ``plain_step`` are what the decorated ones are to be compared with.
    """

    params = (CORES,)
    param_names = ("core",)

    def setup(self, core):
        self.fp = load(core)
        shared = "/dev/shm" if os.access("/dev/shm", os.W_OK) else None
        self.directory = tempfile.mkdtemp(prefix="faultplane-bench-", dir=shared)
        self.fp.init(service="bench", directory=self.directory)
        self.capture = self.fp.capture
        self.kept = self.fp.capture("kept")
        self.decorated = self.fp.capture("charge")(plain)
        self.steps = numbers()
        self.captured_steps = self.fp.capture("stream")(numbers)()
        next(self.captured_steps)

    def teardown(self, core):
        self.captured_steps.close()
        shutil.rmtree(self.directory, ignore_errors=True)

    def time_with_new_block(self, core):
        with self.capture("charge"):
            pass

    def time_with_kept_block(self, core):
        with self.kept:
            pass

    def time_with_nested_blocks(self, core):
        with self.capture("request"), self.capture("charge"):
            pass

    def time_plain_call(self, core):
        plain(1)

    def time_decorated_call(self, core):
        self.decorated(1)

    def time_plain_step(self, core):
        next(self.steps)

    def time_captured_step(self, core):
        next(self.captured_steps)


class Coroutine:
    """A thousand awaits of a coroutine function, plain and decorated."""

    params = (CORES,)
    param_names = ("core",)

    def setup(self, core):
        fp = load(core)

        async def wait(a):
            return a

        self.wait = wait
        self.captured_wait = fp.capture("charge")(wait)

    @staticmethod
    async def repeat(function):
        for _ in range(1000):
            await function(1)

    def time_1000_plain_awaits(self, core):
        asyncio.run(self.repeat(self.wait))

    def time_1000_captured_awaits(self, core):
        asyncio.run(self.repeat(self.captured_wait))


class Failure:
    """A block that fails and swallows, beside the same block without us."""

    params = (CORES,)
    param_names = ("core",)

    def setup(self, core):
        self.capture = load(core).capture

    def time_plain_failure(self, core):
        try:
            raise KeyError("order")
        except KeyError:
            pass

    def time_captured_failure(self, core):
        with self.capture("charge", reraise=False):
            raise KeyError("order")


class Attributes:
    """Encoding of the attributes of one record."""

    params = (CORES,)
    param_names = ("core",)

    def setup(self, core):
        load(core)
        from faultplane.capture.attributes import encode_attributes

        self.encode = encode_attributes
        self.three = {"order.id": 1712, "customer.tier": "gold", "retry": False}
        self.nested = {"tags": ["a", "b", "c"], "request": {"path": "/charge", "size": 512}}

    def time_encode_three(self, core):
        self.encode(self.three)

    def time_encode_nested(self, core):
        self.encode(self.nested)


class Import:
    """``import faultplane`` in a fresh interpreter, and the first ``init()`` after it."""

    params = (CORES,)
    param_names = ("core",)

    def setup(self, core):
        load(core)

    def timeraw_import(self, core):
        return "import faultplane", f"import os; os.environ['FAULTPLANE_CORE'] = {core!r}"

    def timeraw_init(self, core):
        return (
            "fp.init(service='bench', directory=directory.name)",
            f"""
            import os, tempfile
            os.environ['FAULTPLANE_CORE'] = {core!r}
            import faultplane as fp
            directory = tempfile.TemporaryDirectory(prefix='faultplane-bench-')
            """,
        )
