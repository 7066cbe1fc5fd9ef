"""What the parts of ``faultplane bench`` measure, and what they refuse to call measured."""

from __future__ import annotations

import contextlib
import sys
import traceback

import pytest

from faultplane import _backend
from faultplane.cli.bench import amounts, failures, guarded, handover, measure, ours, peers
from faultplane.cli.bench.measure import Case
from faultplane.errors import FaultplaneError


def frames(error):
    return len(traceback.extract_tb(error.__traceback__))


@pytest.mark.parametrize(
    ("fail", "expected"),
    [
        (failures.pay, 6),
        (failures.pay_anew, 6),
        (failures.falling(6, failures.miss_key), 6),
        (failures.falling(6, failures.be_refused), 6),
        (failures.falling(6, failures.tell_secrets), 6),
        (failures.falling(30, failures.decline), 30),
        (failures.falling(60, failures.decline), 60),
        (failures.falling(6, failures.decline_because), 6),
    ],
)
def test_an_error_has_the_frames_that_its_case_names(fail, expected):
    seen = []
    measure.handling(fail, lambda error: seen.append(frames(error)))(2)
    assert seen == [expected] * 2


def test_a_message_has_55_characters():
    assert len(failures.MESSAGE) == 55
    assert len(str(failures.caught(failures.pay_anew))) == 55


def test_a_cause_has_4_frames():
    error = failures.caught(failures.falling(6, failures.decline_because))
    assert frames(error.__cause__) == 4


def test_what_raises_nothing_is_no_failure():
    with pytest.raises(AssertionError):
        failures.caught(abs)


def test_each_call_is_given_an_error_raised_for_it():
    kept = []
    block = measure.handling(failures.pay_anew, kept.append)
    for _ in range(3):
        block(10)
    assert len({id(error) for error in kept}) == 30
    assert len({str(error) for error in kept}) == 30


def test_a_floor_raises_as_often_as_its_block():
    raised = []

    def fail(number):
        raised.append(number)
        raise KeyError(number)

    assert measure.catching(fail)(5) > 0
    assert measure.handling(fail, id)(5) > 0
    assert raised[:5] == raised[5:]


def test_blocks_have_byte_code_of_their_own():
    one, other = measure.handling(failures.pay, id), measure.handling(failures.pay, id)
    assert one.__code__ is not other.__code__


def test_a_timing_is_net_of_its_floor():
    case = Case(block=lambda calls: 700 * calls, floor=lambda calls: 500 * calls)
    timing = measure.measure({"steady": case}, 3)["steady"]
    assert (timing.minimum, timing.median, timing.whole, timing.floor) == (200, 200, 700, 500)
    assert timing.calls == measure.CALLS_MAX


def test_long_calls_make_short_blocks():
    case = Case(block=lambda calls: 10_000_000 * calls, floor=lambda calls: calls)
    assert measure.measure({"long": case}, 1)["long"].calls == 1


def test_quantiles_of_few_values_are_values():
    assert measure.spread([5, 1, 3], 1) == {
        "p50": 2, "p99": 4, "p99.9": 4, "p99.99": 4, "maximum": 4
    }  # fmt: skip


def test_a_first_look_takes_less_of_everything():
    for core in ("cython", "python"):
        pairs = zip(amounts.choose(core, True), amounts.choose(core, False), strict=True)
        assert all(quick < full for quick, full in pairs)


def test_a_checked_build_is_not_measured(tmp_path, monkeypatch):
    library = tmp_path / "record.so"
    record = type(sys)("record")
    record.__file__ = str(library)
    monkeypatch.setitem(sys.modules, f"{_backend.core.__name__}.record", record)
    library.write_bytes(b"ELF\0.debug_info\0")
    with pytest.raises(FaultplaneError, match="needs a release build"):
        measure.refuse_debug_build()
    library.write_bytes(b"ELF\0.text\0")
    measure.refuse_debug_build()
    record.__file__ = str(tmp_path / "record.py")
    measure.refuse_debug_build()


# -------------------------------------------------------------------------------------- peers


def contender(monkeypatch, set_up, package=""):
    monkeypatch.setitem(peers.PEERS, "one", peers.Contender("raw", 0, package, set_up))


def test_a_peer_that_drops_calls_is_not_measured(monkeypatch):
    seen = set()

    def set_up():
        record = measure.calling(lambda error: seen.add(id(error)), failures.caught(failures.pay))
        return peers.Peer(Case(record, measure.looping), lambda: len(seen))

    contender(monkeypatch, set_up)
    with pytest.raises(AssertionError, match=r"one recorded 1 of \d+ calls"):
        peers.run("one", 1)


def test_a_peer_whose_package_is_not_installed_is_missing(monkeypatch):
    contender(monkeypatch, peers.logging_null, package="no-such-package-of-anybody")
    assert "no-such-package" in peers.run("one", 1)["missing"]


def test_a_peer_that_cannot_be_imported_is_missing(monkeypatch):
    monkeypatch.setitem(sys.modules, "structlog", None)
    contender(monkeypatch, peers.structlog_json)
    assert "structlog" in peers.run("one", 1)["missing"]


@pytest.mark.parametrize("name", ["logging.exception, NullHandler", "logging.exception, formatted"])
def test_logging_counts_what_it_was_given(name):
    found = peers.run(name, 2)
    assert found["recorded"] == found["calls_made"] > 0


def test_a_traceback_that_ends_early_is_not_counted():
    out = peers._Tracebacks()
    out.write("Traceback (most recent call last): " + failures.MESSAGE)
    assert out.count == 0
    error = failures.caught(failures.pay)
    out.write("".join(traceback.format_exception(error)))
    assert out.count == 1


# --------------------------------------------------------------------------------------- ours


def test_without_opentelemetry_there_is_no_case_of_spans(monkeypatch):
    monkeypatch.setitem(sys.modules, "opentelemetry", None)
    assert ours.span_cases(measure.Calls()) == {}


@pytest.mark.slow
def test_calls_that_were_not_recorded_fail_the_run(run_python, core_name):
    code = (
        "from faultplane.cli.bench import measure, ours\n"
        "calls = measure.Calls()\n"
        "cases = ours.cases(calls)\n"
        "cases['raw'].block(5)\n"
        "print(ours.check(calls))\n"
        "calls.made += 1\n"
        "ours.check(calls)\n"
    )
    done = run_python(code, core=core_name, check=False)
    assert done.stdout == "{'calls': 5, 'rows': 5, 'counted': 5}\n"
    assert done.stderr.splitlines()[-1] == "AssertionError: 6 calls, 5 rows, 5 counted"


@pytest.mark.slow
def test_a_run_without_storage_is_no_measurement(run_python, core_name):
    code = (
        "import os, shutil, faultplane as fp\n"
        "from faultplane.cli.bench import stalls\n"
        "shutil.rmtree(os.environ['FAULTPLANE_DIR'])\n"
        "open(os.environ['FAULTPLANE_DIR'], 'w').close()\n"
        "stalls.run(1024)\n"
    )
    done = run_python(code, core=core_name, check=False)
    assert "AssertionError: 0 lanes were claimed" in done.stderr


# ------------------------------------------------------------------------------ guarded calls


def by_hand(attempts, opens=False):
    """Guards that try a function so often, and reject every call after the first that failed."""
    failed = []

    def guard(function):
        def guarded_function(numbers):
            if opens and failed:
                raise BrokenPipeError
            for _ in range(attempts - 1):
                with contextlib.suppress(ConnectionResetError):
                    return function(numbers)
            try:
                return function(numbers)
            except ConnectionResetError:
                failed.append(numbers)
                raise

        return guarded_function

    rejection = BrokenPipeError if opens else None
    return guarded.Guards(guard, None, None, guard, rejection, attempts=attempts)


@contextlib.contextmanager
def measuring(guards):
    with guarded.Guarded(guards) as measured:
        for case in measured.cases.values():
            case.block(10)
            case.floor(10)
        yield measured


def test_what_guards_is_told_how_many_calls_it_had():
    for opens in (False, True):
        with measuring(by_hand(3, opens)) as measured:
            assert measured.check() == {guarded.SUCCEEDS: 10, guarded.RETRIED: 10}


def test_what_tries_too_seldom_is_not_measured():
    guards = by_hand(3)._replace(attempts=2, retried=None)
    with measuring(guards) as measured, pytest.raises(AssertionError, match="tried 3 times, not 2"):
        measured.check()


def test_a_call_that_does_not_come_through_is_not_measured():
    guards = by_hand(3)._replace(succeeds=lambda function: lambda numbers: 7)
    with measuring(guards) as measured, pytest.raises(AssertionError, match="10 calls, 0 tries"):
        measured.check()


def test_a_breaker_that_never_opens_is_not_measured(monkeypatch):
    monkeypatch.setattr(guarded, "FAILING_CALLS_MAX", 9)
    guards = by_hand(3)._replace(rejection=BrokenPipeError)
    with measuring(guards) as measured, pytest.raises(AssertionError, match="not open in 9 calls"):
        measured.check()


def test_a_failure_that_is_answered_is_not_measured():
    def swallow(function):
        def guarded_function(numbers):
            try:
                return function(numbers)
            except ConnectionResetError:
                return None

        return guarded_function

    guards = guarded.Guards(swallow, None, None, None, None)
    with measuring(guards) as measured, pytest.raises(AssertionError, match="gave an answer"):
        measured.check()


def test_a_call_that_is_not_rejected_is_not_measured():
    guards = guarded.guards()
    rejects = guards.rejects
    with guarded.Guarded(guards._replace(succeeds=None, awaited=None, retried=None)) as measured:
        block = measured.cases[guarded.REJECTED].block
        block(5)
        rejects.cell.move(0, 1)
        with pytest.raises(AssertionError, match="not rejected"):
            block(1)


@pytest.mark.slow
@pytest.mark.parametrize("domain", [True, False])
def test_our_own_are_counted_where_others_read_it(run_python, core_name, domain):
    code = (
        "from faultplane.cli.bench import guarded\n"
        f"found = guarded.run(2, domain={domain})\n"
        "print(list(found['cases']) == list(guarded.CASES), min(found['calls'].values()) > 0)\n"
        f"if {domain}:\n"
        "    guarded.check_shared({**found['calls'], guarded.RETRIED: 1})\n"
    )
    done = run_python(code, core=core_name, check=False)
    assert done.stdout == "True True\n"
    assert ("AssertionError: 1 calls were retried" in done.stderr) == domain


# ------------------------------------------------------------------------------------ handover


@pytest.mark.slow
def test_records_that_are_lost_fail_a_handover(run_python, core_name):
    code = "from faultplane.cli.bench import handover\nhandover.ours(1, 15_000, sleeping=True)\n"
    done = run_python(code, core=core_name, check=False, FAULTPLANE_BUDGET_BYTES="2MiB")
    assert "of 15000 records" in done.stderr.splitlines()[-1]


def test_a_hole_in_the_sequence_fails_a_handover():
    pa = pytest.importorskip("pyarrow")

    def batches(*numbers):
        return [pa.record_batch({"owner": [7] * len(numbers), "seq": list(numbers)})]

    handover._check_sequence([batches(4, 5), batches(6)])
    with pytest.raises(AssertionError, match="out of sequence"):
        handover._check_sequence([batches(4, 5), batches(7)])


def test_without_pyarrow_the_sequence_is_not_looked_at(monkeypatch):
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    handover._check_sequence([["anything"]])


def test_a_way_to_another_process_that_is_not_installed_is_missing(monkeypatch):
    monkeypatch.setitem(sys.modules, "zmq", None)
    assert "zmq" in handover.peer("pyzmq PUSH", 10)["missing"]
