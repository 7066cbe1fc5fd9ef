"""Errors that answer for nothing: a guarded call raises what was raised, and no error of theirs."""

from __future__ import annotations

import asyncio

import pytest

from faultplane.errors import LimitExceeded
from faultplane.resilience.backoff import constant
from faultplane.resilience.dependency import Dependency
from faultplane.resilience.fallback import Fallback
from faultplane.resilience.policy import Breaker, Bulkhead, Retry

NOW = constant(0)
RETRIES = {
    "no retry": None,
    "classified": Retry(attempts=2, backoff=NOW),
    "others": Retry(attempts=2, backoff=NOW, on=ZeroDivisionError),
    "all": Retry(attempts=2, backoff=NOW, on=Exception),
    "learnt": Retry(attempts=2, backoff=NOW, adaptive=True, learn="all"),
}
AROUND = {
    "nothing": {},
    "fallback": {"fallback": Fallback.stale()},
    "deadline": {"deadline": 20.0},
    "limit": {"limit": Bulkhead(3, wait_max=1.0), "deadline": 20.0},
}


class Asked(Exception):
    """An attribute was read that is nobody's business."""


def refuse(*_):
    raise Asked


def error_of(kind):
    """An error of a new class, and what is hostile about it."""
    return type("Hostile", (Exception,), HOSTILE[kind])()


HOSTILE = {
    "class": {"__class__": property(refuse)},
    "class of a rejection": {"__class__": LimitExceeded},
    "class of a cancellation": {"__class__": asyncio.CancelledError},
    "traceback": {"__traceback__": property(refuse)},
    "causes": {"__cause__": property(refuse), "__context__": property(refuse)},
    "dict": {"__dict__": property(refuse), "__module__": "builtins"},
    "causes as of Python's own": {"__cause__": property(refuse), "__module__": "builtins"},
    "every attribute": {"__getattribute__": refuse},
    "equality": {"__eq__": refuse, "__hash__": None, "__bool__": refuse},
    "text": {"__str__": refuse, "__repr__": refuse},
    "waits": {"retry_after": property(refuse), "response": property(refuse)},
    "changes": {"__setattr__": refuse, "with_traceback": refuse},
}


def raises(error):
    raise error


async def by_call(dependency, error):
    dependency.call(raises, error)


async def by_attempts(dependency, error):
    for attempt in dependency.attempts():
        with attempt:
            raise error


async def by_block(dependency, error):
    with dependency:
        raise error


async def by_generator(dependency, error):
    @dependency
    def values():
        yield "value"
        raise error

    list(values())


async def raises_later(error):
    await asyncio.sleep(0)
    raise error


async def by_coroutine(dependency, error):
    await dependency.acall(raises_later, error)


async def by_awaited_attempts(dependency, error):
    async for attempt in dependency.attempts():
        async with attempt:
            await raises_later(error)


async def by_awaited_block(dependency, error):
    async with dependency:
        await raises_later(error)


async def by_awaited_generator(dependency, error):
    @dependency
    async def values():
        yield "value"
        await raises_later(error)

    async for _ in values():
        pass


async def by_hedge(dependency, error):
    hedged = Dependency(
        dependency.name,
        hedge=20.0,
        retry=dependency.retry,
        fallback=dependency.fallback,
        scope="process",
    )
    await hedged.acall(raises_later, error)


async def raised_by(awaited):
    """What it raised: not out of a task, where asyncio asks an error for its class, and hangs."""
    try:
        await awaited
    except BaseException as error:
        return error


FORMS = [
    by_call, by_attempts, by_block, by_generator, by_coroutine, by_awaited_attempts,
    by_awaited_block, by_awaited_generator, by_hedge,
]  # fmt: skip


@pytest.mark.parametrize("kind", HOSTILE)
@pytest.mark.parametrize("around", AROUND)
@pytest.mark.parametrize("form", FORMS)
def test_what_a_call_raises_is_what_was_raised_whatever_it_answers(name, form, around, kind):
    for retry in RETRIES.values():
        dependency = Dependency(
            name, retry=retry, breaker=Breaker(), scope="process", **AROUND[around]
        )
        error = error_of(kind)
        came = asyncio.run(raised_by(form(dependency, error)))
        assert came is error, type(came)
        assert form is by_hedge or dependency.cell.window()[0] in (1, 2)
