"""A store to write to, and owners that die at a word."""

from __future__ import annotations

import textwrap

import pytest

from faultplane import schema
from faultplane._backend import CORE_NAME
from faultplane.store import aggregate, domain, location, owners
from faultplane.store.reader import StoreReader


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


@pytest.fixture
def open_reader():
    """Function ``(builder) -> StoreReader``, closed afterwards."""
    readers = []

    def make(store):
        readers.append(StoreReader(domain.Store.open(str(store.path))))
        return readers[-1]

    yield make
    for reader in readers:
        reader.close()


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


START = """
import os, sys, time
from faultplane._backend import core
from faultplane.errors import *
from faultplane.store import counts, deaths, domain, gc, lifecycle, maintain, owners

def fail(n=1):
    for _ in range(n):
        try:
            raise ValueError("no")
        except ValueError as error:
            core.record(error, operation="op")

def hits(store=None):
    rows = counts.read_counters(store or lifecycle._process.store)
    return sum(row.value for row in rows if row.name == "hits")

def errors(store=None):
    return sum(row.count for row in counts.read_counts(store or lifecycle._process.store))

def wait(child):
    code = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    assert code == 0, code
"""


@pytest.fixture
def run(run_python):
    """Function ``(code, …) -> what it printed``: code about this process as an owner."""

    def start(code, *args, **options):
        return run_python(START + textwrap.dedent(code), *args, **options).stdout

    return start


@pytest.fixture
def stores(tmp_domain_dir):
    """Function ``(domain="default") -> Store``: read-only, of the only store there."""
    opened = []

    def find(name="default"):
        (path,) = domain.store_paths(domain.find(name, str(tmp_domain_dir)))
        opened.append(domain.Store.open(path))
        return opened[-1]

    yield find
    for store in opened:
        store.close()
