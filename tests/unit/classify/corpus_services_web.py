"""Failures of web frameworks, templates, validation and task queues.

The words are those of ``corpus_services_http.py``.
"""

from __future__ import annotations

import asyncio
import json
import sqlite3

from corpus_services_http import case, made, raised
from failures_network import unused_port

# ------------------------------------------------------------- a status, from the server's side

ON_PURPOSE = {
    400: "DataValidation yes success",
    401: "Permission yes success",
    403: "Permission yes success",
    404: "DataValidation yes success",
    405: "DataValidation yes success",
    409: "Concurrency later yes success FixCode",
    413: "DataValidation yes success",
    415: "VersionMismatch yes success",
    422: "DataValidation yes success",
    429: "RateLimit",
    500: "DependencyService final",
    501: "VersionMismatch target yes success",
    502: "DependencyService path unknown",
    503: "DependencyService",
    504: "Timeout category=Dependency",
}
FLOW = "Processing Fallback ignored"
BAD_REQUEST = "DataValidation yes success"
FORBIDDEN = "Permission yes success"
CLIENT_LEFT = "Transport final Fallback caller yes ignored"
PROGRAM = "Internal ignored"
SETTING = "Configuration"


def aborted(status, **settings):
    from werkzeug.exceptions import abort

    abort(status, **settings)


for _status, _words in ON_PURPOSE.items():
    case(f"werkzeug: abort({_status})", _words)(lambda status=_status: aborted(status))
    made("starlette.exceptions", "HTTPException", _words, _status)
    made("fastapi", "HTTPException", _words, _status)
for _name, _status in {
    "HTTPBadRequest": 400, "HTTPUnauthorized": 401, "HTTPForbidden": 403, "HTTPNotFound": 404,
    "HTTPConflict": 409, "HTTPTooManyRequests": 429, "HTTPInternalServerError": 500,
    "HTTPBadGateway": 502, "HTTPServiceUnavailable": 503, "HTTPGatewayTimeout": 504,
}.items():  # fmt: skip
    made("aiohttp.web", _name, ON_PURPOSE[_status])
made("aiohttp.web", "HTTPFound", FLOW, "/there")
made("aiohttp.web", "HTTPOk", FLOW)
made("starlette.exceptions", "HTTPException", FLOW, 303, headers={"Location": "/x"})
made("starlette.exceptions", "HTTPException", "RateLimit after=9", 429,
     headers={"retry-after": "9"})  # fmt: skip
made("aiohttp.web", "HTTPServiceUnavailable", "DependencyService after=3",
     headers={"Retry-After": "3"})  # fmt: skip
made("werkzeug.exceptions", "TooManyRequests", "RateLimit after=5", retry_after=5)
# No header is sent for 0.
made("werkzeug.exceptions", "ServiceUnavailable", "DependencyService", retry_after=0)
made("werkzeug.exceptions", "HTTPException", "DependencyService final unknown", "no status")
made("werkzeug.exceptions", "BadRequestKeyError", BAD_REQUEST, "field")
made("werkzeug.exceptions", "SecurityError", BAD_REQUEST)
made("werkzeug.exceptions", "ClientDisconnected", CLIENT_LEFT)
made("werkzeug.routing", "RequestRedirect", FLOW, "/x/")
made("werkzeug.routing", "BuildError", PROGRAM, "endpoint", {}, None)


@case("werkzeug: no such path", BAD_REQUEST)
def _():
    from werkzeug.routing import Map

    Map([]).bind("shop.invalid").match("/missing")


@case("flask: no such field of a form", BAD_REQUEST)
def _():
    import flask

    with flask.Flask("shop").test_request_context("/", method="POST"):
        return flask.request.form["missing"]


made("starlette.websockets", "WebSocketDisconnect", CLIENT_LEFT, 1001)
made("starlette.requests", "ClientDisconnect", CLIENT_LEFT)
made("starlette.formparsers", "MultiPartException", BAD_REQUEST, "text")
made("starlette.authentication", "AuthenticationError", FORBIDDEN, "text")
made("starlette.config", "EnvironError", SETTING, "text")
made("starlette.routing", "NoMatchFound", PROGRAM, "name", {})
made("starlette.exceptions", "WebSocketException", BAD_REQUEST, 1008)
made("fastapi.exceptions", "RequestValidationError", BAD_REQUEST, [])
made("fastapi.exceptions", "ResponseValidationError", "DataValidation target yes failure", [])
made("fastapi.exceptions", "FastAPIError", PROGRAM, "text")

# ---------------------------------------------------------------------------------- Django


def django():
    from django.conf import settings

    if not settings.configured:
        databases = {"default": {"ENGINE": "django.db.backends.sqlite3", "NAME": ":memory:"}}
        settings.configure(USE_I18N=False, DATABASES=databases, ALLOWED_HOSTS=["shop.invalid"])


def sql(*statements):
    django()
    from django.db import connection

    # Whatever has a connection closes it: the next case finds an empty database.
    try:
        with connection.cursor() as cursor:
            for statement in statements:
                cursor.execute(statement)
    finally:
        connection.close()


case("django: constraint", "DataValidation yes success")(
    lambda: sql("create table t (a integer primary key)", *["insert into t values (1)"] * 2)
)
case("django: SQL that is none", "Internal no ignored")(lambda: sql("selec"))


@case("django: database locked", "Concurrency no")
def _():
    django()
    from django.db import OperationalError

    error = sqlite3.OperationalError("database is locked")
    error.sqlite_errorcode = 5
    raise OperationalError(*error.args) from error


@case("django: driver's connection refused", "Transport target no")
def _():
    import django.db.utils

    raise django.db.utils.OperationalError("text") from ConnectionRefusedError(111, "refused")


made("django.db.utils", "OperationalError", "DependencyService unknown", "text")
made("django.db.utils", "InterfaceError", "Transport no", "connection already closed")
made("django.db.utils", "DataError IntegrityError", "DataValidation yes success", "text")
made("django.db.utils", "ProgrammingError", "Internal yes ignored", "text")
made("django.db.utils", "NotSupportedError", "VersionMismatch", "text")
made("django.db.utils", "InternalError DatabaseError Error", "DependencyService final unknown", "x")
made("django.db.utils", "ConnectionDoesNotExist", SETTING, "text")
made("django.db.transaction", "TransactionManagementError", PROGRAM, "text")
made("django.db.models", "ProtectedError RestrictedError", "BusinessLogic", "text", set())
made("django.core.exceptions", "ObjectDoesNotExist MultipleObjectsReturned", BAD_REQUEST, "text")
made("django.core.exceptions", "PermissionDenied", FORBIDDEN, "text")
made("django.core.exceptions", "SuspiciousOperation DisallowedHost SuspiciousFileOperation",
     FORBIDDEN, "text")  # fmt: skip
made("django.core.exceptions", "RequestDataTooBig TooManyFieldsSent TooManyFilesSent BadRequest",
     BAD_REQUEST, "text")  # fmt: skip
made("django.core.exceptions", "ImproperlyConfigured AppRegistryNotReady", SETTING, "text")
made("django.core.exceptions", "FieldError FieldDoesNotExist SynchronousOnlyOperation",
     PROGRAM, "text")  # fmt: skip
made("django.core.exceptions", "MiddlewareNotUsed EmptyResultSet", FLOW, "text")
made("django.core.exceptions", "RequestAborted", CLIENT_LEFT)
made("django.core.exceptions", "ValidationError", "DataValidation", "text")
made("django.http", "Http404", BAD_REQUEST, "text")
made("django.http", "UnreadablePostError", CLIENT_LEFT, "text")
made("django.http.multipartparser", "MultiPartParserError", BAD_REQUEST, "text")
made("django.http", "BadHeaderError", "DataValidation no", "text")
made("django.core.cache.backends.base", "InvalidCacheKey", "DataValidation no", "text")
made("django.db.migrations.exceptions", "InconsistentMigrationHistory", "VersionMismatch no", "x")
made("django.urls", "NoReverseMatch", PROGRAM, "text")
made("django.core.paginator", "EmptyPage PageNotAnInteger", BAD_REQUEST, "text")


@case("django: signature that was changed", FORBIDDEN)
def _():
    django()
    from django.core.signing import Signer

    Signer(key="k").unsign("text:AAAA")


@case("django: settings that are not there", SETTING)
def _():
    django()
    from django.core.cache import caches

    return caches["nobody"]


@case("django: template syntax", PROGRAM)
def _():
    django()
    from django.template import Context, Engine

    Engine().from_string("{% nobody %}").render(Context())


@case("django: no such template", SETTING)
def _():
    django()
    from django.template import Engine

    Engine().get_template("missing.html")


@case("django: JSON fixture cut off", "Serialization")
def _():
    django()
    from django.core.serializers import deserialize

    list(deserialize("json", '[{"model": '))


@case("django: value of a field", "DataValidation")
def _():
    django()
    from django.core.validators import validate_email

    validate_email("nobody")


# ---------------------------------------------------------------------------------- jinja2


def rendered(text, **names):
    import jinja2

    environment = jinja2.Environment(undefined=jinja2.StrictUndefined)
    return environment.from_string(text).render(**names)


def sandboxed(text):
    from jinja2.sandbox import SandboxedEnvironment

    return SandboxedEnvironment().from_string(text).render()


case("jinja2: syntax", PROGRAM)(lambda: rendered("{% if %}"))
case("jinja2: no such filter", PROGRAM)(lambda: rendered("{{ 1 | nobody }}"))
case("jinja2: undefined", "Processing")(lambda: rendered("{{ missing }}"))
case("jinja2: sandbox", "Permission")(lambda: sandboxed("{{ ''.__class__.__mro__ }}"))


@case("jinja2: no such template", SETTING)
def _():
    import jinja2

    jinja2.Environment(loader=jinja2.DictLoader({})).get_template("missing.html")


@case("jinja2: none of the templates", SETTING)
def _():
    import jinja2

    jinja2.Environment(loader=jinja2.DictLoader({})).select_template(["a", "b"])


made("jinja2", "TemplateRuntimeError", "Processing", "text")
made("jinja2", "TemplateError", "Internal", "text")

# ---------------------------------------------------------------------------------- pydantic


def checked(data):
    import pydantic

    class Order(pydantic.BaseModel):
        amount: int

    return Order.model_validate_json(data)


case("pydantic: a field of another type", "DataValidation")(lambda: checked('{"amount": "x"}'))
case("pydantic: a missing field", "DataValidation")(lambda: checked("{}"))
case("pydantic: truncated JSON", "DataValidation")(lambda: checked('{"amount": '))


@case("pydantic: cannot be serialised", "Serialization")
def _():
    import pydantic_core

    pydantic_core.to_json(object())


@case("pydantic: a type without a schema", PROGRAM)
def _():
    import pydantic

    pydantic.TypeAdapter(type("Odd", (), {}))


@case("pydantic: a schema that is none", PROGRAM)
def _():
    import pydantic_core

    pydantic_core.SchemaValidator({"type": "nobody"})


@case("fastapi: a request that does not fit", BAD_REQUEST)
def _():
    from fastapi import FastAPI
    from fastapi.exceptions import RequestValidationError

    shop = FastAPI()
    seen = []

    @shop.exception_handler(RequestValidationError)
    async def keep(request, error):
        from starlette.responses import Response

        seen.append(error)
        return Response(status_code=422)

    @shop.get("/{number}")
    async def order(number: int):
        return number

    asyncio.run(asked(shop, "/x"))
    raise seen[0]


async def asked(application, path):
    """A request to an ASGI application, as a server would hand it over."""
    scope = {"type": "http", "asgi": {"version": "3.0"}, "http_version": "1.1", "method": "GET",
             "scheme": "http", "path": path, "raw_path": path.encode(), "query_string": b"",
             "root_path": "", "headers": [], "client": None, "server": None}  # fmt: skip

    async def receive():
        return {"type": "http.request", "body": b"", "more_body": False}

    async def send(message):
        pass

    await application(scope, receive, send)


# ------------------------------------------------------------------- Celery, kombu, billiard

TIME_LIMIT = "Timeout later target yes"
WORKER_DIED = "ResourceExhausted final target"


def application(**settings):
    import celery

    app = celery.Celery("shop", broker="memory://", backend="cache+memory://", set_as_current=False)
    app.conf.update(task_always_eager=False, **settings)
    return app


@case("celery: no result in time", "Timeout target")
def _():
    application().AsyncResult("nobody").get(timeout=0.01, interval=0.001)


@case("celery: task asks for another try", FLOW)
def _():
    app = application()

    @app.task(bind=True, name="again")
    def again(task):
        raise task.retry(countdown=1, throw=True)

    again.push_request(called_directly=False, is_eager=False, id="1", args=(), kwargs={},
                       delivery_info={})  # fmt: skip
    again.run()


@case("celery: no more tries", "Processing")
def _():
    app = application()

    @app.task(bind=True, name="last", max_retries=0)
    def last(task):
        raise task.retry(countdown=1)

    last.push_request(called_directly=False, id="1", args=(), kwargs={}, retries=1)
    last.run()


@case("celery: no such task", SETTING)
def _():
    return application().tasks["nobody"]


made("celery.exceptions", "Ignore Reject", FLOW)
made("celery.exceptions", "TaskRevokedError", "Concurrency final Fallback ignored", "revoked")
made("celery.exceptions", "ImproperlyConfigured QueueNotFound", SETTING, "text")
made("celery.exceptions", "ChordError", "Processing", "text")
made("celery.exceptions", "SecurityError", "Permission", "text")
made("celery.exceptions", "AlreadyRegistered", PROGRAM, "text")
made("celery.exceptions", "InvalidTaskError", "DataValidation", "text")
made("celery.exceptions", "BackendGetMetaError BackendStoreError", "DependencyService unknown", "x")
made("billiard.exceptions", "SoftTimeLimitExceeded TimeLimitExceeded", TIME_LIMIT, 5)
made("celery.exceptions", "IncompleteStream", "Transport", "text")
made("celery.backends.rpc", "BacklogLimitExceeded", "ResourceExhausted", "text")
made("celery.platforms", "LockFailed", "Concurrency final ignored", "text")
made("billiard.managers", "RemoteError", "DependencyService final", "text")
made("billiard.exceptions", "WorkerLostError", WORKER_DIED, "signal 9")
made("billiard.exceptions", "Terminated", "Concurrency final Fallback ignored", 15)


@case("kombu: nobody listens", "Transport target no")
def _():
    import kombu

    host, port = unused_port()
    with kombu.Connection(f"amqp://{host}:{port}//", connect_timeout=5) as connection:
        connection.ensure_connection(max_retries=1, interval_start=0)


@case("kombu: pickle is not accepted", "Permission")
def _():
    from kombu.serialization import loads

    loads(b"", "application/x-python-serialize", "binary", accept={"application/json"})


@case("kombu: truncated JSON", "Serialization")
def _():
    from kombu.serialization import loads

    loads(b'{"a": ', "application/json", "utf-8")


@case("kombu: cannot be serialised", "Serialization no ignored")
def _():
    from kombu.serialization import dumps

    dumps(object(), "json")


@case("kombu: no connection left", "ResourceExhausted retry no ignored")
def _():
    import kombu

    pool = kombu.Connection("memory://").Pool(1)
    pool.acquire()
    pool.acquire()


made("kombu.exceptions", "OperationalError", "Transport", "text")
made("kombu.exceptions", "MessageStateError NotBoundError", PROGRAM, "text")
made("kombu.exceptions", "KombuError InconsistencyError", "DependencyService final unknown", "text")
made("kombu.exceptions", "HttpError", "DependencyService", 503, "text")
made("kombu.exceptions", "VersionMismatch", "VersionMismatch", "text")

# ---------------------------------------------------------------------------------- RQ

made("rq.timeouts", "JobTimeoutException HorseMonitorTimeoutException", TIME_LIMIT, "text")
made("rq.exceptions", "NoSuchJobError", BAD_REQUEST, "text")
made("rq.exceptions", "DeserializationError", "Serialization", "text")
made("rq.exceptions", "AbandonedJobError", WORKER_DIED, "text")
made("rq.exceptions", "DuplicateJobError", "Concurrency final ignored", "text")
made("rq.exceptions", "StopRequested", FLOW)
made("rq.exceptions", "ShutDownImminentException", FLOW, "text", {})
made("rq.exceptions", "DequeueTimeout", "Concurrency ignored", 1, ["q"])
made("rq.exceptions", "InvalidJobOperation", PROGRAM, "text")
made("rq.exceptions", "TimeoutFormatError", SETTING, "text")


@case("rq: timeout of a job", TIME_LIMIT)
def _():
    from rq.timeouts import JobTimeoutException, UnixSignalDeathPenalty

    UnixSignalDeathPenalty(1, JobTimeoutException).handle_death_penalty(14, None)


@case("rq: timeout that is none", SETTING)
def _():
    from rq.utils import parse_timeout

    parse_timeout("soon")


# ---------------------------------------------------------------------------------- formats


@case("json: truncated reply of a service", "Serialization")
def _():
    json.loads('{"a": ')


case("json: a value that has no form", "Internal ignored")(lambda: json.dumps(object()))
case("json: wrapped by an error of one's own", "Serialization")(lambda: wrapped())


def wrapped():
    class Mine(Exception):
        pass

    try:
        json.loads("{")
    except ValueError as error:
        raise Mine("reply of the shop") from error


case("json: an error that nobody knows", "Internal")(
    lambda: raised(type("Odd", (Exception,), {})())
)
made("pydantic.v1.env_settings", "SettingsError", SETTING, "text")
made("pydantic_core", "PydanticOmit PydanticUseDefault", FLOW)
made("aiohttp.web_runner", "GracefulExit", FLOW)
made("aiohttp.web", "RequestPayloadError", BAD_REQUEST, "text")
made("kombu.exceptions", "BatchPublishError", "DependencyService", 1, "text")
