"""What redaction of one message costs.

The core's function is timed itself, in nanoseconds a call, the loop and the call included (about
30 ns): the minimum of several rounds, since what disturbs a round only ever adds. Inside
``record()`` the compiled core calls it from C, without that.
"""

from __future__ import annotations

import importlib
import timeit

CORES = ("cython", "python")
MODULES = {"cython": "faultplane._core.redact", "python": "faultplane._pure.redact"}
CALLS = {"cython": 20_000, "python": 1_000}
ROUNDS = 15

MESSAGES = {
    "plain": "the payment gateway did not answer in the time it has g",
    "punctuated": "[Errno 111] Connection refused: host=db1, port=5432 (x)",
    "time_uuid": "2024-05-01T12:00:00Z order 550e8400-e29b-41d4 not found",
    "url": "cannot connect to postgresql://app:hunter2@db/orders now",
    "key_value": "password=hunter2 for user bob at host db1 was not taken.",
    "mail": "the mail to alice@example.com bounced at mx1 for a week",
    "card": "card 4111 1111 1111 1111 declined by the issuer bank :(",
    "long": "upstream said: " + "no such order, try again later; " * 30,
}
HOSTILE = {"keys": "session:", "mail": "a@", "urls": "a://b:c/", "quotes": "token: 'a "}


def load(core):
    """The redact function of ``core``; skips the benchmark where that is not built."""
    try:
        return importlib.import_module(MODULES[core]).redact
    except ModuleNotFoundError as error:
        raise NotImplementedError(f"the {core} core is not there: {error}") from error


def nanoseconds(redact, text, calls):
    """Minimum over the rounds of one call."""
    timer = timeit.Timer("redact(text)", globals={"redact": redact, "text": text})
    return min(timer.repeat(repeat=ROUNDS, number=calls)) / calls * 1e9


class Redact:
    """One message, again and again."""

    params = (CORES, tuple(MESSAGES))
    param_names = ("core", "message")

    def setup(self, core, message):
        self.redact = load(core)

    def track_redact(self, core, message):
        return nanoseconds(self.redact, MESSAGES[message], CALLS[core])

    track_redact.unit = "ns"


class Hostile:
    """4,096 bytes made to be looked at twice, against the first half of them: 2 is linear."""

    params = (CORES, tuple(HOSTILE))
    param_names = ("core", "piece")

    def setup(self, core, piece):
        self.redact = load(core)
        self.text = (HOSTILE[piece] * 4096)[:4096]
        self.calls = max(CALLS[core] // 200, 2)

    def track_ratio(self, core, piece):
        whole = nanoseconds(self.redact, self.text, self.calls)
        return whole / nanoseconds(self.redact, self.text[:2048], self.calls)

    track_ratio.unit = "ratio"

    def track_microseconds(self, core, piece):
        return nanoseconds(self.redact, self.text, self.calls) / 1e3

    track_microseconds.unit = "us"
