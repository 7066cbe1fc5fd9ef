"""Databases, brokers and clouds: what each failure is, and that no name of a table is made up.

Entries of a library that is not installed are skipped; a Redis server is started for those that
need one.
"""

from __future__ import annotations

import ast
import gc
import importlib
import inspect
import re
import sys
import warnings
from pathlib import Path

import pytest

from faultplane.classify import classify_for_core, register_rule, type_name
from faultplane.classify.judgement import NEVER
from faultplane.classify.libraries import (
    MODULES,
    Unread,
    prepare,
    row_of,
    table_named,
)
from faultplane.classify.libraries import __name__ as PACKAGE

HERE = Path(__file__).resolve().parent
if str(HERE) not in sys.path:
    sys.path.insert(0, str(HERE))

import corpus_services_data as corpus  # noqa: E402
import databases_failing  # noqa: E402
import services_failing as failing  # noqa: E402
from failures import NotPossible  # noqa: E402

ENTRIES = corpus.entries()
MINE = ("amqp", "aws", "kafka", "mongodb", "mysql", "postgresql", "redis", "sqlalchemy")
# What an expression of the corpus may name, by the library that has to be there.
IMPORTED = {
    "psycopg": "psycopg.errors",
    "asyncpg": "asyncpg.exceptions",
    "sqlalchemy": "sqlalchemy.orm.exc",
    "pymysql": "pymysql.err",
    "redis": "redis.sentinel redis.asyncio.sentinel",
    "botocore": "botocore.exceptions",
    "kafka": "kafka.errors",
    "aiokafka": "aiokafka.errors",
    "confluent_kafka": "confluent_kafka.error confluent_kafka.serialization",
    "pika": "pika.exceptions pika.adapters.utils.connection_workflow",
    "pymongo": "pymongo.errors gridfs.errors",
    "bson": "bson.errors",
    "gridfs": "gridfs.errors",
    "amqp": "amqp.exceptions",
    "psycopg2": "psycopg2.errors psycopg2.extensions",
    "psycopg_pool": "psycopg_pool",
    "mysql": "mysql.connector.errors",
    "MySQLdb": "MySQLdb._exceptions",
    "asyncmy": "asyncmy.errors",
    "boto3": "boto3.exceptions",
    "s3transfer": "s3transfer.exceptions",
}
MAKERS = {"aws": "botocore", "mongo": "pymongo", "confluent": "confluent_kafka"}
FAILING = {"s3": "botocore", "stubbed": "botocore", "aws": "botocore", "mongo": "pymongo",
           "confluent": "confluent_kafka"}  # fmt: skip


# The functions that have a library really fail, by name.
REAL = {
    name: value
    for module in (databases_failing, failing)
    for name, value in vars(module).items()
    if inspect.isfunction(value) and value.__module__ == module.__name__
    and name.partition("_")[0] in {*FAILING, *IMPORTED} and "_" in name
}  # fmt: skip


def libraries_of(how):
    """The libraries that an entry needs."""
    if how.startswith("["):
        words = how[1:-1].split("_")
        found = [FAILING.get(words[0], words[0])]
        return found + [word for word in words[1:] if word in ("psycopg", "pymysql", "asyncpg")]
    roots = [name for name in IMPORTED if re.search(rf"\b{name}\.", how)]
    return roots or [MAKERS[how.partition("(")[0]]]


def imported(library):
    """The library, with the modules of its exceptions; skips where it is not installed."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        module = pytest.importorskip(library)
        for name in IMPORTED[library].split():
            importlib.import_module(name)
    return module


def made(how):
    """The exception of an entry."""
    namespace = {library: imported(library) for library in libraries_of(how)}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            if not how.startswith("["):
                makers = {name: getattr(failing, name) for name in MAKERS}
                return eval(how, {**makers, **namespace})
            return really(REAL[how[1:-1]])
        except NotPossible as reason:
            pytest.skip(str(reason))
        except AttributeError as error:
            pytest.skip(f"another version of it: {error}")


def really(function):
    """The exception that the function lets out, without what its frames have open."""
    try:
        function()
    except NotPossible:
        raise
    except Exception as error:
        found = error
    else:
        raise AssertionError(f"{function.__name__} did not fail")
    inner = found
    while inner is not None:
        inner.__traceback__ = None
        inner = inner.__cause__ or inner.__context__
    gc.collect()  # here, where what a library forgot to close is no warning
    return found


@pytest.fixture(scope="module", autouse=True)
def _no_server_left_over():
    yield
    failing.stop()


# ---------------------------------------------------------------------------------- the corpus


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize(("how", "expected"), ENTRIES, ids=[how for how, _ in ENTRIES])
def test_a_failure_is_what_its_documentation_says(how, expected, classify):
    error = made(how)
    answer = classify(error)
    assert {name: answer.to_dict()[name] for name in expected} == expected, answer.rule
    assert answer.rule != "default"
    assert 0.3 <= answer.confidence <= 1.0
    told, remembered = classify_for_core(error)
    assert told == answer
    if type(remembered) is tuple:
        read, key = remembered
        assert read(error) == key
    if remembered != NEVER:
        assert classify(error) is answer is classify_for_core(error)[0]


def test_the_corpus_has_each_failure_once_and_enough_of_them():
    names = [how for how, _ in ENTRIES]
    assert len(names) == len(set(names)) > 160
    for library in IMPORTED.keys() - {"MySQLdb", "asyncmy", "s3transfer"}:
        assert any(library in libraries_of(how) for how in names), library
    assert set(REAL) == {name[1:-1] for name in names if name.startswith("[")}


# --------------------------------------------------------------------------------- the names

# Names that not every version has.
ELSEWHERE = {
    "kafka.errors": "NoBrokersAvailable KafkaUnavailableError AuthorizationError "
    "LogTruncationError NoOffsetForPartitionError TransactionAbortedError",
    "redis.exceptions": "MaxConnectionsError IncorrectPolicyType",
    "redis.auth.err": "RequestTokenErr TokenRenewalErr InvalidTokenSchemaErr",
    "sqlalchemy.exc": "EmulatedDBAPIException NoDBAPILoaded",
    "mysql.connector.errors": "MySQLError ConnectionTimeoutError ReadTimeoutError "
    "WriteTimeoutError",
}
# What the types of a compiled module say theirs is.
IMPORTED_AS = {"cimpl": "confluent_kafka.cimpl", "psycopg": "psycopg", "pymysql.err": "pymysql.err"}


def groups():
    for module in MINE:
        for group, rows in importlib.import_module(f"{PACKAGE}.{module}").GROUPS:
            yield group, [name for names in rows for name in names.split()]


def test_no_name_is_in_two_rows():
    names = [f"{group}.{name}" for group, found in groups() for name in found]
    assert len(names) == len(set(names)) > 250
    assert sum(len(table_named(module)) for module in MINE) == len(names)


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize(("group", "names"), list(groups()), ids=[group for group, _ in groups()])
def test_each_name_is_an_exception_of_the_library(group, names):
    module_name = IMPORTED_AS.get(group, group)
    root = module_name.partition(".")[0]
    imported("confluent_kafka" if root == "cimpl" else root)
    module = importlib.import_module(module_name)
    missing = []
    for name in names:
        found = module
        for part in name.split("."):
            found = getattr(found, part, None)
        if found is None:
            missing.append(name)
            continue
        assert issubclass(found, BaseException), name
        assert type_name(found) == f"{group}.{name}"
    assert set(missing) <= set(ELSEWHERE.get(group, "").split())


@pytest.mark.parametrize("module", MINE)
def test_no_code_is_in_two_rows(module):
    source = inspect.getsource(importlib.import_module(f"{PACKAGE}.{module}"))
    seen = 0
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Call) and getattr(node.func, "id", "") == "answers_by_word":
            words = [word for key in node.args[1].keys for word in key.value.split()]
            assert sorted(words) == sorted(set(words))
            seen += len(words)
    assert seen > (10 if module != "sqlalchemy" else -1)


def test_each_row_makes_an_answer():
    for module in MINE:
        for name, row in table_named(module).items():
            assert row.answer.rule == name
        for answers in vars(importlib.import_module(f"{PACKAGE}.{module}")).values():
            if type(answers).__name__ == "Table":
                for word, answer in answers.items():
                    assert answer.rule.endswith(f"[{word}]")


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("library", list(IMPORTED))
def test_each_exception_of_a_library_is_known(library, classify):
    imported(library)
    roots = {library, "cimpl"} if library == "confluent_kafka" else {library}
    waiting, found = [Exception], set()
    while waiting:
        for sub in type.__subclasses__(waiting.pop()):
            waiting.append(sub)
            if type_name(sub).partition(".")[0] in roots:
                found.add(sub)
    assert len(found) >= 3
    unknown = []
    for cls in found:
        if type_name(cls).startswith(WITHIN) or issubclass(cls, Warning):
            continue
        named = next((c for c in cls.__mro__ if known_name(type_name(c))), None)
        if named is None:
            unknown.append(type_name(cls))
    assert unknown == []


def known_name(name):
    return row_of(name) is not None


# What a library catches itself, or raises only of its own making.
WITHIN = (
    "asyncpg.connect_utils._", "asyncpg.pgproto.", "sqlalchemy.util.queue.", "sqlalchemy.orm.util.",
    "sqlalchemy.engine.interfaces.DBAPIModule.", "sqlalchemy.orm.mapper._", "redis.event.",
    "sqlalchemy.dialects.postgresql.asyncpg.AsyncAdapt_asyncpg_dbapi.Warning",
    "botocore.vendored.", "botocore.utils._", "botocore.utils.BadIMDS", "botocore.model.",
    "pika.adapters.utils.io_services_utils.", "s3transfer.bandwidth.", "s3transfer.utils.",
    "s3transfer.futures.",
)  # fmt: skip


# --------------------------------------------------------------- the libraries' own tables


@pytest.mark.filterwarnings("ignore")
def test_each_sqlstate_that_the_drivers_know_has_an_answer():
    imported("psycopg")
    from faultplane.classify.libraries.postgresql import SQLSTATES

    codes = {error.sqlstate for error in sys.modules["psycopg.errors"]._sqlcodes.values()}
    assert len(codes) > 200
    assert [c for c in codes if c not in SQLSTATES and f"{c[:2]}xxx" not in SQLSTATES] == []
    known = {code[:2] for code in codes} | {"01", "10", "connect"}
    assert {code for code in SQLSTATES if code[:2] not in known and code != "connect"} == set()


@pytest.mark.filterwarnings("ignore")
def test_what_the_protocol_of_kafka_calls_retriable_is(classify):
    errors = imported("kafka").errors
    seen = 0
    for cls in vars(errors).values():
        code = getattr(cls, "errno", None)
        if type(code) is not int or code == 0 or cls is errors.IncompatibleBrokerVersion:
            continue  # the last one is named
        seen += 1
        answer = classify(cls("x"))
        assert answer.rule == f"kafka[{code}]"
        if cls.retriable:
            assert answer.retryable, cls
        elif code != 2:  # the protocol says so of a corrupt message, this client does not
            assert not answer.retryable, cls
    assert seen > 100


@pytest.mark.filterwarnings("ignore")
def test_each_code_of_librdkafka_has_an_answer():
    kafka_error = imported("confluent_kafka").KafkaError
    from faultplane.classify.libraries.kafka import CODES

    values = [getattr(kafka_error, name) for name in dir(kafka_error)]
    codes = {value for value in values if type(value) is int and value}
    assert len(codes) > 150
    assert {code for code in codes if str(code) not in CODES} <= KAFKA_LEFT_OUT
    assert {int(code) for code in CODES if code.lstrip("-").isdecimal()} - codes <= KAFKA_MORE


# Kafka Streams, and what librdkafka keeps to itself; what brokers say to one another.
KAFKA_LEFT_OUT = {
    -196, -189, -183, -182, -179, -173, -167, -158, -146, -143, -138, 130, 131, 132,
}  # fmt: skip
KAFKA_MORE = {98, 99, 101, 102, 104, 105, 106, 107, 108, 109}


@pytest.mark.filterwarnings("ignore")
def test_what_botocore_retries_is_retryable(classify):
    imported("botocore")
    from botocore.retries import standard

    codes = {
        *standard.ThrottledRetryableChecker._THROTTLED_ERROR_CODES,
        *standard.TransientRetryableChecker._TRANSIENT_ERROR_CODES,
    }
    assert len(codes) > 12
    for code in codes:
        assert classify(failing.aws(code, 400)).retryable, code
    for status in standard.TransientRetryableChecker._TRANSIENT_STATUS_CODES:
        assert classify(failing.aws("NobodyKnows", status)).retryable, status
    assert not classify(failing.aws("NobodyKnows", 400)).retryable
    assert classify(failing.aws("NobodyKnows", 418)).rule == "http[4xx]"
    assert classify(failing.aws("NobodyKnows", 200)).rule == "botocore.exceptions.ClientError"


@pytest.mark.filterwarnings("ignore")
def test_what_pymongo_retries_is_retryable(classify):
    imported("pymongo")
    helpers_shared = pytest.importorskip("pymongo.helpers_shared")

    assert len(helpers_shared._RETRYABLE_ERROR_CODES) > 10
    for code in helpers_shared._RETRYABLE_ERROR_CODES:
        assert classify(failing.mongo(code)).retryable, code
    assert not classify(failing.mongo(59)).retryable
    assert classify(failing.mongo(59, "TransientTransactionError")).retryable


@pytest.mark.filterwarnings("ignore")
def test_each_number_that_pymysql_tells_apart_has_an_answer(classify):
    error_map = imported("pymysql").err.error_map
    unknown = [n for n, cls in error_map.items() if classify(cls(n, "x")).rule != f"mysql[{n}]"]
    assert len(error_map) > 30
    assert unknown == []


# ------------------------------------------------------------------------ nearest named base


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize(
    ("base", "rule"),
    [
        ("redis.exceptions.ConnectionError", "redis.exceptions.ConnectionError"),
        ("psycopg.errors.DeadlockDetected", "sqlstate[40P01]"),
        ("pymongo.errors.AutoReconnect", "pymongo.errors.AutoReconnect"),
        ("kafka.errors.NotControllerError", "kafka[41]"),
        ("pika.exceptions.StreamLostError", "pika.exceptions.StreamLostError"),
    ],
)
def test_a_subclass_takes_the_answer_of_its_nearest_named_base(base, rule, classify):
    module, _, name = base.rpartition(".")
    imported(base.partition(".")[0])
    mine = type("Mine", (getattr(importlib.import_module(module), name),), {})
    assert classify(mine("x")).rule == rule


# ----------------------------------------------------------- what is read from the exception


@pytest.mark.filterwarnings("ignore")
def test_a_changed_exception_gets_the_answer_of_what_it_is_now(classify):
    imported("botocore")
    error = failing.aws("SlowDown", 503)
    assert classify(error).rule == "aws[SlowDown]"
    error.response["Error"]["Code"] = "AccessDenied"
    assert classify(error).rule == "aws[AccessDenied]"
    error.response["ResponseMetadata"]["HTTPHeaders"]["retry-after"] = "7"
    assert classify(error).retry_after == 7.0
    error.response["ResponseMetadata"]["HTTPHeaders"]["x-ms-retry-after-ms"] = "20"
    assert classify(error).retry_after == 0.02
    error.response = None
    assert classify(error).rule == "botocore.exceptions.ClientError"
    imported("psycopg")
    error = sys.modules["psycopg"].OperationalError("x")
    for state, rule in (("40001", "sqlstate[40001]"), ("23999", "sqlstate[23xxx]"),
                        ("QQ000", "psycopg.OperationalError"), (7, "psycopg.OperationalError"),
                        (None, "psycopg.OperationalError")):  # fmt: skip
        error.sqlstate = state
        assert classify(error).rule == rule


@pytest.mark.filterwarnings("ignore")
def test_an_error_of_sqlalchemy_is_remembered_by_that_of_the_driver(classify):
    exc = imported("sqlalchemy").exc
    psycopg = imported("psycopg")

    def wrapped(orig):
        return exc.OperationalError("q", {}, orig)

    deadlock = wrapped(psycopg.errors.DeadlockDetected("x"))
    assert classify(deadlock).rule == "orig: sqlstate[40P01]"
    assert classify_for_core(deadlock)[1] != NEVER
    assert classify(wrapped(psycopg.errors.AdminShutdown("x"))).rule == "orig: sqlstate[57P01]"
    deadlock.orig = OSError(111, "refused")
    assert classify(deadlock).rule == "orig: OSError[ECONNREFUSED]"
    deadlock.orig.errno = 104
    assert classify(deadlock).rule == "orig: OSError[ECONNRESET]"
    deadlock.orig = None
    assert classify(deadlock).rule == "sqlalchemy.exc.OperationalError"
    with register_rule(psycopg.errors.DeadlockDetected, kind="RateLimit"):
        again = wrapped(psycopg.errors.DeadlockDetected("x"))
        assert classify(again).kind.value == "RateLimit"
        with register_rule(psycopg.errors.DeadlockDetected, lambda error: "Timeout"):
            assert classify(again).kind.value == "Timeout"
            assert classify_for_core(again)[1] == NEVER
    assert classify(again).rule == "orig: sqlstate[40P01]"


class Explosive:
    """Attributes that raise, whatever they are asked for."""

    def __getattribute__(self, name):
        raise ZeroDivisionError(name)


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize(
    ("module", "name", "attributes"),
    [
        ("psycopg", "OperationalError", ["sqlstate"]),
        ("pymysql.err", "OperationalError", ["args"]),
        ("sqlalchemy.exc", "DBAPIError", ["orig"]),
        ("botocore.exceptions", "ClientError", ["response"]),
        ("pymongo.errors", "OperationFailure", ["code", "details", "has_error_label"]),
        ("kafka.errors", "KafkaError", ["errno", "retriable"]),
        ("cimpl", "KafkaException", ["args"]),
        ("pika.exceptions", "ChannelClosed", ["reply_code"]),
        ("redis.exceptions", "ConnectionError", ["args"]),
    ],
)
def test_attributes_that_explode_leave_the_answer_of_the_type(module, name, attributes, classify):
    def explode(self):
        raise ZeroDivisionError

    root = module.partition(".")[0]
    imported("confluent_kafka" if root == "cimpl" else root)
    base = getattr(importlib.import_module(IMPORTED_AS.get(module, module)), name)
    mine = type("Mine", (base,), {each: property(explode) for each in attributes})
    error = mine.__new__(mine, Explosive())
    assert classify(error).rule == f"{module}.{name}"


# ----------------------------------------------------------------------- when a table is read


def test_no_table_is_read_before_it_is_of_use(run_python):
    done = run_python(
        """
import sys
def read():
    return sorted(n.rpartition(".")[2] for n in sys.modules
                  if n.startswith("faultplane.classify.libraries."))
import faultplane as fp
assert read() == []
fp.classify(KeyError())
assert read() == [], read()
Odd = type("Odd", (Exception,), {"__module__": "pika.exceptions"})
assert fp.classify(Odd()).rule == "default"
assert read() == ["amqp", "rows"], read()
Known = type("NackError", (Exception,), {"__module__": "pika.exceptions"})
assert fp.classify(Known()).rule == "pika.exceptions.NackError"
assert not {"pika", "amqp", "psycopg", "redis"} & set(sys.modules)
sys.modules["redis"] = sys
from faultplane.classify import libraries
libraries.prepare()
assert read() == ["amqp", "redis", "rows"], read()
print("ok")
"""
    )
    assert done.stdout == "ok\n"


@pytest.fixture
def unread(monkeypatch):
    """As if no table had been read."""
    libraries = sys.modules[PACKAGE]
    monkeypatch.setattr(libraries, "_tables", {})
    return libraries


def a_nack():
    return type("NackError", (ConnectionError,), {"__module__": "pika.exceptions"})()


def test_a_table_that_cannot_be_read_leaves_the_bases_and_is_asked_for_again(
    unread, monkeypatch, classify
):
    error = a_nack()
    with monkeypatch.context() as patch:
        patch.setitem(sys.modules, f"{PACKAGE}.amqp", None)
        assert classify(error).rule == "ConnectionError"
        assert classify_for_core(error)[1] == NEVER
    assert classify(error).rule == "pika.exceptions.NackError"


def test_a_signal_while_a_table_is_read_finds_no_half_table(unread, monkeypatch, classify):
    from _thread import get_ident

    error = a_nack()
    with monkeypatch.context() as patch:
        patch.setattr(unread, "_reading", {get_ident()})
        with pytest.raises(Unread):
            table_named("amqp")
        prepare()
        assert classify(error).rule == "ConnectionError"
        assert classify_for_core(error)[1] == NEVER
    assert classify(error).rule == "pika.exceptions.NackError"


def test_each_library_belongs_to_one_module():
    roots = [root for names in MODULES.values() for root in names.split()]
    assert len(roots) == len(set(roots))
    for module in MINE:
        for group, _ in importlib.import_module(f"{PACKAGE}.{module}").GROUPS:
            assert group.partition(".")[0] in MODULES[module].split()
