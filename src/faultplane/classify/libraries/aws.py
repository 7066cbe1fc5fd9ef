"""AWS: botocore's own exceptions, and a ClientError by its error code, else by its status.

The codes of throttling are those that botocore's standard retries take for it, so are the
statuses that are worth a retry (500, 502, 503 and 504: a server error of AWS may be repeated,
which the HTTP table says of no other server).

Decisions that could have gone another way:

* Credentials that have expired are Permission like any others that are refused: the same call
  with the same credentials does not help, and botocore renews those that it can.
* A condition that does not hold (ConditionalCheckFailedException, PreconditionFailed) is temporary
  and not retryable, as HTTP 412; two transactions in each other's way may be made again.
* A quota is ResourceExhausted and final, though LimitExceededException, which some services have
  for it, is throttling to botocore.
* WaiterError is Timeout of low confidence: most often it has asked for as long as it may.
"""

from __future__ import annotations

from typing import Any, Final

from faultplane.classify import vocabulary as v
from faultplane.classify.classification import Classification, shared
from faultplane.classify.http_status import by_status
from faultplane.classify.judgement import NEVER, Inquiry, Judgement
from faultplane.classify.libraries import rows as r
from faultplane.classify.retry_after import headers_say_when, wait_in_headers
from faultplane.classify.table import answers_by_word

__all__ = ["CODES", "GROUPS", "by_aws_code"]

CODES: Final = answers_by_word(
    "aws",
    {
        "Throttling ThrottlingException ThrottledException RequestThrottledException "
        "TooManyRequestsException ProvisionedThroughputExceededException RequestLimitExceeded "
        "BandwidthLimitExceeded LimitExceededException RequestThrottled SlowDown "
        "PriorRequestNotComplete EC2ThrottledException KMSThrottlingException "
        "TooManyRequests": r.THROTTLED,
        "TransactionInProgressException TransactionConflictException OperationAborted "
        "ReplicatedWriteConflictException ConditionalRequestConflict": r.CONFLICT,
        "ConditionalCheckFailedException PreconditionFailed TransactionCanceledException "
        "ConflictException ResourceInUseException": r.OUTDATED,
        "RequestTimeout RequestTimeoutException": (
            "Timeout", {"reached_server": "yes", **v.BACKOFF},
        ),
        "ServiceUnavailable ServiceUnavailableException Unavailable InternalError InternalFailure "
        "InternalServerError InternalServerErrorException InternalServiceError "
        "InternalServiceException ServiceException IDPCommunicationError 500 502 503": (
            r.UNAVAILABLE
        ),
        "504": ("Timeout", {"category": "Dependency"}),
        "BadDigest XAmzContentSHA256Mismatch": ("Transport", {"reached_server": "yes"}),
        "AccessDenied AccessDeniedException AccountProblem AllAccessDisabled AuthFailure "
        "AuthorizationError ExpiredToken ExpiredTokenException Forbidden IncompleteSignature "
        "InvalidAccessKeyId InvalidClientTokenId InvalidSignatureException InvalidToken "
        "KMSAccessDeniedException MissingAuthenticationToken MissingAuthenticationTokenException "
        "NotAuthorized NotAuthorizedException OptInRequired SignatureDoesNotMatch "
        "TokenRefreshRequired UnauthorizedAccess UnauthorizedException UnauthorizedOperation "
        "UnrecognizedClientException": r.DENIED,
        "NoSuchKey NoSuchBucket NoSuchUpload NoSuchVersion NoSuchEntity NoSuchEntityException "
        "NotFound NotFoundException ResourceNotFound ResourceNotFoundException "
        "EntityNotFoundException QueueDoesNotExist AWS.SimpleQueueService.NonExistentQueue "
        "ParameterNotFound TableNotFoundException": r.ABSENT,
        "ValidationException ValidationError InvalidParameter InvalidParameterValue "
        "InvalidParameterValueException InvalidParameterException InvalidParameterCombination "
        "MissingParameter InvalidRequest InvalidRequestException InvalidArgument "
        "InvalidArgumentException MalformedXML MalformedQueryString MalformedPolicyDocument "
        "EntityTooLarge EntityTooSmall InvalidBucketName InvalidRange KeyTooLongError "
        "BucketAlreadyExists BucketAlreadyOwnedByYou BucketNotEmpty EntityAlreadyExists "
        "ResourceAlreadyExistsException ResourceExistsException "
        "IdempotentParameterMismatch": r.INVALID,
        "SerializationException": ("Serialization", {**v.ANSWERED}),
        "InvalidAction UnknownOperationException MethodNotAllowed": r.MISTAKE,
        "NotImplemented UnsupportedOperation UnsupportedOperationException": r.UNSUPPORTED,
        "ServiceQuotaExceededException QuotaExceeded QuotaExceededException TooManyBuckets "
        "ItemCollectionSizeLimitExceededException": r.FULL,
        "InsufficientInstanceCapacity InsufficientCapacity": r.CROWDED,
        "RequestTimeTooSkewed RequestExpired PermanentRedirect TemporaryRedirect "
        "AuthorizationHeaderMalformed IllegalLocationConstraintException": r.REFUSED_SETTING,
    },
)  # fmt: skip
"""Answers by error code, and by status where AWS says more of it than HTTP does."""


_KNOWN: Final = frozenset(CODES)


def _code_key(exc: Any) -> object:
    """Code or status of an answer that says nothing of when to try again."""
    response = exc.response
    metadata = response.get("ResponseMetadata") or {}
    headers = metadata.get("HTTPHeaders")
    if headers and headers_say_when(headers):
        return None
    return _key(response.get("Error") or {}, metadata)


def _key(error: Any, metadata: Any) -> str | int:
    code = error.get("Code")
    if type(code) is str and code in _KNOWN:
        return code
    status = metadata.get("HTTPStatusCode")
    if type(status) is not int and type(code) is str and code.isascii() and code.isdecimal():
        status = int(code[:3])  # an answer without a body: HeadObject
    if type(status) is not int or not 300 <= status <= 599:
        return ""
    return str(status) if str(status) in _KNOWN else status


def _answer(key: Any, answer: Classification) -> Classification:
    return by_status(key) if type(key) is int else CODES.get(key, answer)


def by_aws_code(exc: BaseException, answer: Classification, inquiry: Inquiry) -> Judgement:
    """A ClientError by error code, else by status, and when its headers say to come back."""
    try:
        key = _code_key(exc)
        if key is not None:
            return _answer(key, answer), (_code_key, key)
        response = exc.response  # type: ignore[attr-defined]
        metadata = response["ResponseMetadata"]
        found = _answer(_key(response.get("Error") or {}, metadata), answer)
        wait = wait_in_headers(metadata["HTTPHeaders"], inquiry.now())
    except Exception:  # noqa: BLE001 - a response may be any mapping
        return answer, NEVER
    if wait is not None:
        found = shared(found.replace(retry_after=wait))
    return found, NEVER


# Around what really happened, of which only the text is left.
_TRANSFER: Final[r.Written] = (
    "DependencyService", {**v.UNCLEAR},
)  # fmt: skip

GROUPS: Final[tuple[r.Group, ...]] = (
    (
        "botocore.exceptions",
        {
            "ClientError": ("DependencyService", {**v.FINAL, **v.GUESS}, by_aws_code),
            "BotoCoreError UndefinedModelAttributeError": ("Internal", {**r.MISUSE[1], **v.GUESS}),
            "PaginationError OperationNotPageableError UnknownClientMethodError "
            "StubResponseError StubAssertionError": r.MISUSE,
            "ConnectionError HTTPClientError": ("Transport", {**v.LIKELY}),
            "EndpointConnectionError ProxyConnectionError": r.UNREACHED,
            "ConnectTimeoutError": r.UNREACHED_IN_TIME,
            "ReadTimeoutError": r.SLOW,
            "ConnectionClosedError": r.LOST,
            "SSLError": ("Permission", {**v.UNSENT, "origin": "path", "counts_as": "failure",
                                        "confidence": 0.6}),
            "IncompleteReadError ResponseStreamingError ChecksumError FlexibleChecksumError": (
                "Transport", {"reached_server": "yes"},
            ),
            "NoCredentialsError PartialCredentialsError UnknownCredentialError ProfileNotFound "
            "ConfigNotFound ConfigParseError InvalidConfigError BaseEndpointResolverError "
            "NoRegionError UnknownEndpointError EndpointProviderError InvalidRegionError "
            "UnknownRegionError ServiceNotInRegionError InvalidDNSNameError "
            "InvalidEndpointConfigurationError InvalidEndpointDiscoveryConfigurationError "
            "InvalidIMDSEndpointError InvalidIMDSEndpointModeError InvalidProxiesConfigError "
            "InvalidRetryConfigurationError InvalidS3AddressingStyleError InvalidDefaultsMode "
            "InvalidS3UsEast1RegionalEndpointConfigError InvalidSTSRegionalEndpointsConfigError "
            "InvalidChecksumConfigError UnsupportedS3ConfigurationError "
            "UnsupportedS3ControlConfigurationError UnsupportedS3AccesspointConfigurationError "
            "DataNotFoundError ApiVersionNotFoundError MissingDependencyException "
            "WaiterConfigError UnknownTokenProviderError": r.SETTING,
            "CredentialRetrievalError MetadataRetrievalError TokenRetrievalError": (
                "DependencyService", {**r.NOT_OPEN[1], "confidence": 0.6},
            ),
            "SSOError SSOTokenLoadError UnauthorizedSSOTokenError LoginError NoAuthTokenError "
            "RefreshWithMFAUnsupportedError": ("Permission", {**v.UNSENT}),
            "ParamValidationError ValidationError MissingParametersError InvalidHostLabelError "
            "UnsupportedS3ArnError UnsupportedS3ControlArnError UnsupportedOutpostResourceError "
            "InvalidExpressionError": r.UNFIT,
            "UnknownSignatureVersionError UnsupportedSignatureVersionError MD5UnavailableError "
            "UnknownServiceStyle UnsupportedServiceProtocolsError": (
                "VersionMismatch", {**v.UNSENT},
            ),
            "CapacityNotAvailableError": (
                "RateLimit", {**v.LOCAL, "origin": "caller"},
            ),
            "WaiterError": ("Timeout", {**v.TARGET, **v.GUESS}),
            "ImminentRemovalWarning UnsupportedTLSVersionWarning": (
                "VersionMismatch", r.WARNED[1],
            ),
        },
    ),
    ("botocore.eventstream", {"ParserError": ("Serialization", {**v.TARGET})}),
    ("botocore.parsers", {"ResponseParserError": ("Serialization", {**v.TARGET})}),
    ("botocore.utils", {"InvalidArnException": r.UNFIT}),
    (
        "boto3.exceptions",
        {
            "Boto3Error": ("Internal", {**r.MISUSE[1], **v.GUESS}),
            "S3UploadFailedError S3TransferFailedError RetriesExceededError": _TRANSFER,
            "ResourceLoadException NoVersionFound InvalidCrtTransferConfigError": r.SETTING,
            "PythonDeprecationWarning": ("VersionMismatch", r.WARNED[1]),
        },
    ),
    (
        "s3transfer.exceptions",
        {
            "RetriesExceededError S3UploadFailedError S3DownloadFailedError S3CopyFailedError": (
                _TRANSFER
            ),
            "S3ValidationError": ("Transport", {"reached_server": "yes"}),
            "FatalError": r.STOPPED,
            "InvalidSubscriberMethodError TransferNotDoneError": r.MISUSE,
        },
    ),
    ("s3transfer", {"QueueShutdownError": r.STOPPED}),
)  # fmt: skip
