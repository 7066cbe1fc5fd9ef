"""A store to write to, and owners that die at a word."""

from __future__ import annotations

import pytest

from faultplane import schema
from faultplane._backend import CORE_NAME
from faultplane.store import aggregate, domain, location, owners


@pytest.fixture
def make_store(tmp_domain_dir):
    """Function ``(domain="default", budget_bytes=2 MiB) -> Store``, writable, closed afterwards."""
    made = []

    def make(name="default", budget_bytes=schema.BUDGET_BYTES_MIN, group_readable=False):
        base = location.writable_base(str(tmp_domain_dir), group_readable=group_readable)
        store = domain.open_or_create(base, name, CORE_NAME, budget_bytes, group_readable)
        made.append(store)
        return store

    yield make
    for store in made:
        store.close()


@pytest.fixture
def store(make_store):
    """A writable store of 32 owner slots."""
    return make_store()


class Owner:
    """An owner of this test process: counts by hand, then leaves in the way it is told to."""

    def __init__(self, store, **counted):
        self.store = store
        self.registration = owners.register(store, '{"service.name":"svc"}')
        assert self.registration is not None
        for name, value in counted.items():
            self.count(name, value)

    @property
    def row(self):
        return owners.read_owner(self.store, self.registration.slot)

    def count(self, name, value, series=schema.SERIES_COUNTER, **cell):
        """Append a series, as a core does: the entry first, ``used`` last."""
        mapping = self.registration.aggregate
        position = schema.AGGREGATE.offset["used"]
        used = mapping.load(position)
        key = aggregate.Series(
            series, cell.get("kind", 0), cell.get("fingerprint", 0), b"", b"", name.encode()
        )
        data = aggregate.entry(key, aggregate.Tally(value, *cell.get("times", (0, 0))))
        with memoryview(mapping) as view:
            view[used : used + len(data)] = data
        mapping.store(position, used + len(data))

    def write(self, **fields):
        owners.write_fields(self.store, self.registration.slot, **fields)

    def die(self):
        """As if another program had taken this process's place: lock gone, word still LIVE."""
        owners.disown(self.store, self.registration)
        self.registration.close()
        return self.row

    def leave(self):
        """Say EXITED, and be gone."""
        owners.say_exited(self.store, self.registration, 0)
        return self.die()


@pytest.fixture
def owner(store):
    """Function ``(**counters) -> Owner`` in the test's store."""

    def make(**counted):
        return Owner(store, **counted)

    return make


@pytest.fixture
def own_class():
    return Owner
