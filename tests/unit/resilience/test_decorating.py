"""What a dependency makes of what it decorates: it is called and looked at as before."""

from __future__ import annotations

import asyncio
import copy
import functools
import gc
import inspect
import pickle

import pytest

from faultplane.resilience.backoff import constant
from faultplane.resilience.dependency import Dependency
from faultplane.resilience.policy import Breaker, Retry

NOW = constant(0)


def test_a_decorated_function_is_what_it_was(name):
    dependency = Dependency(name)

    @dependency
    def charge(order: str, *, amount: int = 1) -> str:
        """Charge it."""
        return f"{order} {amount}"

    assert charge("A", amount=2) == "A 2"
    assert charge.__name__ == "charge" and charge.__doc__ == "Charge it."
    assert str(inspect.signature(charge)) == "(order: 'str', *, amount: 'int' = 1) -> 'str'"
    assert copy.deepcopy(charge) is charge and copy.copy(charge) is charge
    with pytest.raises(TypeError, match="unexpected"):
        charge("A", wrong=1)


@Dependency("module-level")
def at_module_level(x):
    return x


def test_a_decorated_function_is_pickled_by_its_name():
    assert pickle.loads(pickle.dumps(at_module_level)) is at_module_level


def test_methods_are_bound(name):
    dependency = Dependency(name)

    class Shop:
        @dependency
        def charge(self, order):
            return self, order

        @dependency
        @classmethod
        def kind(cls):
            return cls

        @staticmethod
        @dependency
        def plain(x):
            return x

        @dependency
        async def later(self):
            return self

    shop = Shop()
    assert shop.charge("A") == (shop, "A")
    assert Shop.charge(shop, "B") == (shop, "B")
    assert shop.kind() is Shop and shop.plain(1) == 1
    assert asyncio.run(shop.later()) is shop
    assert functools.partial(shop.charge, "C")() == (shop, "C")


def test_kinds_of_functions_keep_their_kind(name, seen):
    dependency = Dependency(name, breaker=Breaker(), limit=3)

    @dependency
    def counted(n):
        got = yield from range(n)
        return got

    @dependency
    async def counted_async(n):
        for value in range(n):
            yield value

    assert inspect.isgeneratorfunction(counted)
    assert inspect.isasyncgenfunction(counted_async)
    running = counted(3)
    assert next(running) == 0
    assert seen(dependency).permits == 1
    assert list(running) == [1, 2]

    async def collect():
        return [value async for value in counted_async(3)]

    assert asyncio.run(collect()) == [0, 1, 2]
    state = seen(dependency)
    assert (state.permits, state.calls) == (0, 2)
    for wrong in (int, 5, None):
        with pytest.raises(TypeError, match="decorates functions"):
            dependency(wrong)


def test_a_generator_that_is_dropped_gives_its_permit_back(name, seen):
    dependency = Dependency(name, limit=1)

    @dependency
    def endless():
        while True:
            yield

    running = endless()
    next(running)
    assert seen(dependency).permits == 1
    del running
    gc.collect()
    assert seen(dependency).permits == 0


def test_a_call_that_is_dropped_gives_everything_back(name, seen):
    dependency = Dependency(name, limit=1, breaker=Breaker())
    call = dependency.guard.begin()
    assert seen(dependency).permits == 1
    del call
    gc.collect()
    state = seen(dependency)
    assert (state.permits, state.totals["ignored"]) == (0, 1)


def test_blocks_nest_and_are_tried_once(name, seen):
    dependency = Dependency(name, retry=Retry(attempts=5, backoff=NOW), breaker=Breaker())
    with pytest.raises(TimeoutError), dependency, dependency:
        raise TimeoutError
    state = seen(dependency)
    assert (state.totals["failures"], state.failures, state.calls) == (2, 2, 2)
