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

from faultplane.classify import vocabulary as v
from faultplane.classify.judges import by_cause
from faultplane.classify.libraries import service_judges as judges
from faultplane.classify.libraries.rows import Group, by_answer

__all__ = ["GROUPS"]

_ASKED_FOR: Final[dict[str, Any]] = {**v.ANSWERED, "severity": "Low"}

GROUPS: Final[tuple[Group, ...]] = by_answer(
    v.says(
        "DependencyService",
        "werkzeug.exceptions: HTTPException starlette.exceptions: HTTPException",
        judge=judges.by_server_status,
        **v.FINAL,
        **v.UNCLEAR,
    ),
    v.says(
        "Transport",
        "werkzeug.exceptions: ClientDisconnected starlette.requests: ClientDisconnect "
        "starlette.websockets: WebSocketDisconnect django.http.request: UnreadablePostError "
        "django.core.exceptions: RequestAborted",
        **{**v.STOPPED, "origin": "caller", "reached_server": "yes"},
    ),
    v.says(
        "Processing",
        "django.core.exceptions: MiddlewareNotUsed EmptyResultSet FullResultSet "
        "django.core.files.uploadhandler: UploadFileException werkzeug.routing.exceptions: "
        "RoutingException",
        **v.STOPPED,
    ),
    v.says(
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
    v.says(
        "DataValidation",
        "django.core.exceptions: MultipleObjectsReturned",
        **{**_ASKED_FOR, **v.MEDIUM},
    ),
    v.says(
        "Permission",
        "starlette.authentication: AuthenticationError django.core.exceptions: PermissionDenied",
        **_ASKED_FOR,
    ),
    v.says(
        "Permission",
        "django.core.exceptions: SuspiciousOperation django.core.signing: BadSignature "
        "django.core.serializers.xml_serializer: DefusedXmlException",
        **{**_ASKED_FOR, **v.MEDIUM},
    ),
    v.says(
        "DataValidation",
        "fastapi.exceptions: ResponseValidationError",
        origin="target",
        reached_server="yes",
        counts_as="failure",
    ),
    v.says(
        "DataValidation",
        "django.core.exceptions: ValidationError fastapi.exceptions: ValidationException",
        **v.CERTAIN,
    ),
    v.says(
        "DataValidation",
        "django.core.mail.message: BadHeaderError django.http.response: BadHeaderError "
        "django.core.cache.backends.base: InvalidCacheKey",
        **v.UNSENT,
    ),
    v.says(
        "Configuration",
        "starlette.config: EnvironError django.core.exceptions: ImproperlyConfigured "
        "AppRegistryNotReady django.utils.connection: ConnectionDoesNotExist django.db.utils: "
        "ConnectionDoesNotExist django.core.management.base: SystemCheckError "
        "django.core.serializers.base: SerializerDoesNotExist django.template.exceptions: "
        "TemplateDoesNotExist jinja2.exceptions: TemplateNotFound",
    ),
    v.says(
        "VersionMismatch",
        "django.db.migrations.exceptions: InconsistentMigrationHistory",
        **v.UNSENT,
    ),
    v.says(
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
        **v.BUG,
    ),
    v.says("Internal", "jinja2.exceptions: TemplateError", **v.GUESS),
    v.says(
        "Processing",
        "jinja2.exceptions: TemplateRuntimeError django.template.base: VariableDoesNotExist "
        "django.core.management.base: CommandError",
        **v.MEDIUM,
    ),
    v.says("Permission", "jinja2.exceptions: SecurityError"),
    v.says(
        "Serialization",
        "django.core.serializers.base: SerializationError DeserializationError",
        **v.CERTAIN,
    ),
    # ------------------------------------------------------------------ Django's databases
    v.says(
        "DependencyService",
        "django.db.utils: Error DatabaseError InternalError",
        judge=by_cause,
        **v.FINAL,
        **v.UNCLEAR,
    ),
    v.says("DependencyService", "django.db.utils: OperationalError", judge=by_cause, **v.UNCLEAR),
    # Mostly a connection that is closed already: nothing was sent by it.
    v.says("Transport", "django.db.utils: InterfaceError", judge=by_cause, **v.UNSENT, **v.GUESS),
    v.says(
        "DataValidation",
        "django.db.utils: DataError IntegrityError",
        judge=by_cause,
        **{**_ASKED_FOR, **v.MEDIUM},
    ),
    v.says(
        "Internal",
        "django.db.utils: ProgrammingError",
        judge=by_cause,
        **{**v.BUG, "reached_server": "yes"},
    ),
    v.says("VersionMismatch", "django.db.utils: NotSupportedError", judge=by_cause),
    # on_delete=PROTECT: the program says so, no database does.
    v.says("BusinessLogic", "django.db.models.deletion: ProtectedError RestrictedError"),
)
