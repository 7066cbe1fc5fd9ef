"""What Django, Flask with Werkzeug, Starlette with FastAPI, and Jinja2 raise.

Decisions that could have gone another way:

* An exception that stands for an answer (HTTPException, Http404) says what its status says to the
  client: kind, retryable and ``counts_as`` are those of the status, so that a 404 does not count
  against a service. Below 500 it is Low: the program gave that answer on purpose. A redirect, like
  anything else that is raised to end a handler, is Processing, Low and ``ignored``.
* The rows of aiohttp's server are beside those of its client.
* A client that went away is Transport, not retryable, Low and ``ignored``.
* What is refused because of the request (SuspiciousOperation, PermissionDenied, a body that is too
  large or does not fit) has reached the server and counts as a success of it. A response that does
  not fit its own model counts as a failure.
* An error of Django's database layer is what the driver's error says that it carries as
  ``__cause__``; without one, what PEP 249 says. An object that is not there is a successful query.
* An error in the text of a template is the program's (Internal, FixCode, ``ignored``); a name that
  is undefined in it may be the data's, and is Processing. A template that is missing is
  Configuration.
"""

from __future__ import annotations

from typing import Any, Final

from faultplane.classify.judges import by_cause
from faultplane.classify.libraries import service_judges as judges
from faultplane.classify.libraries.rows import Group, by_answer
from faultplane.classify.stdlib import (
    _BUG,
    _CERTAIN,
    _GUESS,
    _MEDIUM,
    _NEVER,
    _STOPPED,
    _UNSENT,
    _says,
)

__all__ = ["GROUPS"]

_ASKED_FOR: Final[dict[str, Any]] = {
    "reached_server": "yes",
    "counts_as": "success",
    "severity": "Low",
}
_UNCLEAR: Final[dict[str, Any]] = {**_GUESS, "reached_server": "unknown"}

GROUPS: Final[tuple[Group, ...]] = by_answer(
    _says(
        "DependencyService",
        "werkzeug.exceptions: HTTPException starlette.exceptions: HTTPException",
        judge=judges.by_server_status,
        **{**_NEVER, **_UNCLEAR},
    ),
    _says(
        "Transport",
        "werkzeug.exceptions: ClientDisconnected starlette.requests: ClientDisconnect "
        "starlette.websockets: WebSocketDisconnect django.http.request: UnreadablePostError "
        "django.core.exceptions: RequestAborted",
        **{**_STOPPED, "origin": "caller", "reached_server": "yes"},
    ),
    _says(
        "Processing",
        "django.core.exceptions: MiddlewareNotUsed EmptyResultSet FullResultSet "
        "django.core.files.uploadhandler: UploadFileException werkzeug.routing.exceptions: "
        "RoutingException",
        **_STOPPED,
    ),
    _says(
        "DataValidation",
        "starlette.formparsers: MultiPartException starlette.exceptions: WebSocketException "
        "starlette.responses: MalformedRangeHeader RangeNotSatisfiable "
        "fastapi.exceptions: RequestValidationError WebSocketRequestValidationError "
        "django.http.response: Http404 django.http.multipartparser: MultiPartParserError "
        "django.core.paginator: InvalidPage django.core.exceptions: BadRequest RequestDataTooBig "
        "TooManyFieldsSent TooManyFilesSent ObjectDoesNotExist",
        **_ASKED_FOR,
    ),
    # More than one object where one is meant: the data are not as the program takes them to be.
    _says(
        "DataValidation",
        "django.core.exceptions: MultipleObjectsReturned",
        **{**_ASKED_FOR, **_MEDIUM},
    ),
    _says(
        "Permission",
        "starlette.authentication: AuthenticationError django.core.exceptions: PermissionDenied",
        **_ASKED_FOR,
    ),
    _says(
        "Permission",
        "django.core.exceptions: SuspiciousOperation django.core.signing: BadSignature "
        "django.core.serializers.xml_serializer: DefusedXmlException",
        **{**_ASKED_FOR, **_MEDIUM},
    ),
    _says(
        "DataValidation",
        "fastapi.exceptions: ResponseValidationError",
        origin="target",
        reached_server="yes",
        counts_as="failure",
    ),
    _says(
        "DataValidation",
        "django.core.exceptions: ValidationError fastapi.exceptions: ValidationException",
        **_CERTAIN,
    ),
    _says(
        "DataValidation",
        "django.core.mail.message: BadHeaderError django.http.response: BadHeaderError "
        "django.core.cache.backends.base: InvalidCacheKey",
        **_UNSENT,
    ),
    _says(
        "Configuration",
        "starlette.config: EnvironError django.core.exceptions: ImproperlyConfigured "
        "AppRegistryNotReady django.utils.connection: ConnectionDoesNotExist django.db.utils: "
        "ConnectionDoesNotExist django.core.management.base: SystemCheckError "
        "django.core.serializers.base: SerializerDoesNotExist django.template.exceptions: "
        "TemplateDoesNotExist jinja2.exceptions: TemplateNotFound",
    ),
    _says(
        "VersionMismatch",
        "django.db.migrations.exceptions: InconsistentMigrationHistory",
        **_UNSENT,
    ),
    _says(
        "Internal",
        "werkzeug.routing.exceptions: BuildError starlette.routing: NoMatchFound "
        "fastapi.exceptions: FastAPIError django.core.exceptions: FieldError FieldDoesNotExist "
        "SynchronousOnlyOperation ViewDoesNotExist django.urls.exceptions: NoReverseMatch "
        "django.template.exceptions: TemplateSyntaxError django.template.library: "
        "InvalidTemplateLibrary django.http.request: RawPostDataException "
        "django.template.response: ContentNotRenderedError django.db.transaction: "
        "TransactionManagementError django.db.migrations.exceptions: AmbiguityError "
        "BadMigrationError CircularDependencyError jinja2.exceptions: TemplateSyntaxError "
        "FilterArgumentError",
        **_BUG,
    ),
    _says("Internal", "jinja2.exceptions: TemplateError", **_GUESS),
    _says(
        "Processing",
        "jinja2.exceptions: TemplateRuntimeError django.template.base: VariableDoesNotExist "
        "django.core.management.base: CommandError",
        **_MEDIUM,
    ),
    _says("Permission", "jinja2.exceptions: SecurityError"),
    _says(
        "Serialization",
        "django.core.serializers.base: SerializationError DeserializationError",
        **_CERTAIN,
    ),
    # ------------------------------------------------------------------ Django's databases
    _says(
        "DependencyService",
        "django.db.utils: Error DatabaseError InternalError",
        judge=by_cause,
        **{**_NEVER, **_UNCLEAR},
    ),
    _says("DependencyService", "django.db.utils: OperationalError", judge=by_cause, **_UNCLEAR),
    # Mostly a connection that is closed already: nothing was sent by it.
    _says("Transport", "django.db.utils: InterfaceError", judge=by_cause, **{**_UNSENT, **_GUESS}),
    _says(
        "DataValidation",
        "django.db.utils: DataError IntegrityError",
        judge=by_cause,
        **{**_ASKED_FOR, **_MEDIUM},
    ),
    _says(
        "Internal",
        "django.db.utils: ProgrammingError",
        judge=by_cause,
        **{**_BUG, "reached_server": "yes"},
    ),
    _says("VersionMismatch", "django.db.utils: NotSupportedError", judge=by_cause),
    # on_delete=PROTECT: the program says so, no database does.
    _says("BusinessLogic", "django.db.models.deletion: ProtectedError RestrictedError"),
)
