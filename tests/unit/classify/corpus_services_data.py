"""What databases, brokers and clouds raise, and how each is to be classified.

A heading gives the answer: kind, "retryable" or "later" (temporary, but the same call is no help)
or "final", strategy, whether the server was reached, what the call counts as, the origin, and
where it differs from that of the kind the category. Below it, one a line, how the exceptions come
about: an expression that makes one, or in brackets the name of a function of `databases_failing`
or `services_failing`, which has the library really fail.

The answers come from the documentation of the servers and libraries (PostgreSQL, appendix A;
MySQL, server and client error reference; Redis, protocol errors; Kafka, protocol error codes with
their column "retriable"; AMQP 0-9-1, constants; MongoDB, error codes and retryable writes;
botocore's tables of retries), written before there was a rule.
"""

from __future__ import annotations

CORPUS = """
# psycopg, asyncpg: SQLSTATE
Transport retryable RetryWithBackoff unknown failure path
    psycopg.errors.ConnectionException("x")
    psycopg.errors.ConnectionDoesNotExist("x")
    psycopg.errors.ConnectionFailure("x")
    psycopg.OperationalError("consuming input failed: server closed the connection unexpectedly")
    asyncpg.ConnectionDoesNotExistError("connection was closed in the middle of operation")
    asyncpg.ConnectionFailureError("x")
    asyncpg.PostgresConnectionError("x")
Transport retryable RetryWithBackoff no failure path
    psycopg.errors.SqlclientUnableToEstablishSqlconnection("x")
    asyncpg.ClientCannotConnectError("x")
Transport retryable RetryWithBackoff no failure target
    psycopg.errors.SqlserverRejectedEstablishmentOfSqlconnection("x")
Transport later ManualIntervention unknown failure path
    psycopg.errors.TransactionResolutionUnknown("x")
    psycopg.errors.StatementCompletionUnknown("x")
Timeout retryable IncreaseTimeout no failure path
    psycopg.errors.ConnectionTimeout("x")
Concurrency retryable RetryWithBackoff yes success target
    psycopg.errors.SerializationFailure("could not serialize access")
    psycopg.errors.DeadlockDetected("deadlock detected")
    psycopg2.errors.DeadlockDetected("x")
    psycopg.errors.TransactionRollback("x")
    psycopg.errors.LockNotAvailable("x")
    psycopg.errors.ObjectInUse("x")
    asyncpg.SerializationError("x")
    asyncpg.DeadlockDetectedError("x")
    asyncpg.LockNotAvailableError("x")
ResourceExhausted retryable ScaleResources yes failure target
    psycopg.errors.InsufficientResources("x")
    psycopg.errors.OutOfMemory("x")
    asyncpg.OutOfMemoryError("x")
ResourceExhausted retryable ScaleResources no failure target
    psycopg.errors.TooManyConnections("sorry, too many clients already")
    psycopg.OperationalError("connection failed: FATAL:  sorry, too many clients already")
    psycopg.OperationalError("connection failed: FATAL:  remaining connection slots are reserved")
    redis.exceptions.ConnectionError("max number of clients reached")
    asyncpg.TooManyConnectionsError("x")
ResourceExhausted final ScaleResources yes failure target
    psycopg.errors.DiskFull("x")
    psycopg.errors.ConfigurationLimitExceeded("x")
    asyncpg.DiskFullError("x")
Timeout retryable IncreaseTimeout yes failure target
    psycopg.errors.QueryCanceled("canceling statement due to statement timeout")
    asyncpg.QueryCanceledError("x")
    psycopg.errors.TransactionTimeout("x")
Timeout retryable FixCode yes ignored caller
    psycopg.errors.IdleInTransactionSessionTimeout("x")
DependencyService retryable RetryWithBackoff yes failure target
    psycopg.errors.AdminShutdown("terminating connection due to administrator command")
    psycopg.errors.CrashShutdown("x")
    psycopg.errors.OperatorIntervention("x")
    asyncpg.AdminShutdownError("x")
DependencyService retryable RetryWithBackoff no failure target
    psycopg.errors.CannotConnectNow("the database system is starting up")
    psycopg.OperationalError("connection failed: FATAL:  the database system is starting up")
    asyncpg.CannotConnectNowError("x")
Configuration final ValidateConfig no failure caller
    psycopg.errors.DatabaseDropped("x")
    psycopg.OperationalError('connection failed: FATAL:  database "x" does not exist')
    psycopg.errors.InvalidCatalogName('database "x" does not exist')
    asyncpg.InvalidCatalogNameError("x")
Transport retryable RetryWithBackoff no ignored caller
    psycopg.errors.IdleSessionTimeout("x")
DataValidation final FixCode yes success caller
    psycopg.errors.UniqueViolation("x")
    psycopg.errors.ForeignKeyViolation("x")
    psycopg.errors.NotNullViolation("x")
    psycopg.errors.CheckViolation("x")
    psycopg.errors.ExclusionViolation("x")
    psycopg.errors.NumericValueOutOfRange("x")
    psycopg.errors.InvalidTextRepresentation("x")
    psycopg.errors.DivisionByZero("x")
    psycopg.errors.StringDataRightTruncation("x")
    psycopg.errors.WithCheckOptionViolation("x")
    psycopg.errors.ProgramLimitExceeded("x")
    psycopg.errors.CardinalityViolation("x")
    psycopg.errors.NoDataFound("x")
    asyncpg.UniqueViolationError("x")
    asyncpg.ForeignKeyViolationError("x")
    asyncpg.DataError("invalid input for query argument $1")
    [asyncpg_value_of_the_wrong_type]
Permission final ManualIntervention no success caller
    psycopg.errors.InvalidPassword("x")
    psycopg.OperationalError('connection failed: FATAL:  password authentication failed for "x"')
    psycopg.OperationalError('connection failed: FATAL:  no pg_hba.conf entry for host "x"')
    psycopg.errors.InvalidAuthorizationSpecification("x")
    asyncpg.InvalidPasswordError("x")
Permission final ManualIntervention yes success caller
    psycopg.errors.InsufficientPrivilege("x")
    psycopg.errors.InvalidRoleSpecification("x")
    asyncpg.InsufficientPrivilegeError("x")
Internal final FixCode yes success caller
    psycopg.errors.SyntaxError("x")
    psycopg.errors.UndefinedTable("x")
    psycopg.errors.UndefinedColumn("x")
    psycopg.errors.InFailedSqlTransaction("x")
    psycopg.errors.ActiveSqlTransaction("x")
    psycopg.errors.InvalidCursorState("x")
    psycopg.errors.ObjectNotInPrerequisiteState("x")
    psycopg.errors.AssertFailure("x")
    asyncpg.PostgresSyntaxError("x")
    asyncpg.UndefinedTableError("x")
Configuration later ValidateConfig yes failure path
    psycopg.errors.ReadOnlySqlTransaction("x")
    asyncpg.ReadOnlySQLTransactionError("x")
BusinessLogic final Fallback yes success caller
    psycopg.errors.RaiseException("no stock left")
VersionMismatch final ManualIntervention yes success caller
    psycopg.errors.FeatureNotSupported("x")
VersionMismatch final ManualIntervention unknown failure path
    psycopg.errors.ProtocolViolation("x")
DependencyService final ManualIntervention yes failure target
    psycopg.errors.InternalError_("x")
    psycopg.errors.SystemError("x")
    psycopg.errors.IoError("x")
    psycopg.errors.ConfigFileError("x")
    psycopg.errors.FdwError("x")
    asyncpg.InternalServerError("x")
DependencyService final ManualIntervention yes failure target Data
    psycopg.errors.DataCorrupted("x")
    psycopg.errors.IndexCorrupted("x")
Internal final FixCode no ignored caller
    psycopg.InterfaceError("the connection is closed")
    psycopg.ProgrammingError("the query has 1 placeholder but 2 parameters were passed")
    asyncpg.InterfaceError("cannot perform operation: another operation is in progress")
    [asyncpg_too_many_arguments]
Configuration final ValidateConfig no failure caller
    asyncpg.exceptions.ClientConfigurationError("x")
VersionMismatch final ManualIntervention no ignored caller
    asyncpg.exceptions.UnsupportedServerFeatureError("x")
VersionMismatch retryable RetryWithBackoff yes success caller
    asyncpg.exceptions.OutdatedSchemaCacheError("x")
    asyncpg.exceptions.InvalidCachedStatementError("x")
DependencyService retryable RetryWithBackoff no failure target
    asyncpg.exceptions.TargetServerAttributeNotMatched("x")
Transport retryable RetryWithBackoff no failure path
    [psycopg_refused]
    psycopg.OperationalError('connection to server at "db" failed: Connection refused')
    psycopg2.OperationalError('connection to server at "db" failed: Connection refused')
    mysql.connector.errors.InterfaceError(errno=2003, msg="x")
    [asyncpg_refused] target
# SQLAlchemy
DataValidation final FixCode yes success caller
    [sqlalchemy_integrity]
    sqlalchemy.exc.IntegrityError("INSERT", {}, psycopg.errors.UniqueViolation("x"))
    sqlalchemy.exc.NoResultFound("No row was found")
    sqlalchemy.exc.MultipleResultsFound("x")
    [sqlalchemy_no_result]
    sqlalchemy.exc.DataError("q", {}, pymysql.err.DataError(1406, "Data too long"))
Internal final FixCode no ignored caller
    [sqlalchemy_no_such_table]
    [sqlalchemy_detached]
    [sqlalchemy_closed]
    sqlalchemy.exc.ArgumentError("x")
    sqlalchemy.exc.CompileError("x")
    sqlalchemy.exc.PendingRollbackError("x")
    sqlalchemy.exc.MissingGreenlet("x")
    sqlalchemy.orm.exc.UnmappedInstanceError(object())
Concurrency retryable RetryWithBackoff no failure caller
    [sqlalchemy_locked]
Concurrency retryable RetryWithBackoff yes success target
    sqlalchemy.exc.OperationalError("q", {}, psycopg.errors.DeadlockDetected("x"))
    sqlalchemy.exc.OperationalError("q", {}, pymysql.err.OperationalError(1213, "Deadlock"))
    sqlalchemy.exc.DBAPIError("q", {}, asyncpg.SerializationError("x"))
    [sqlalchemy_stale]
    [sqlalchemy_asyncpg_adapted]
Transport retryable RetryWithBackoff unknown failure path
    sqlalchemy.exc.OperationalError("q", {}, pymysql.err.OperationalError(2006, "gone away"))
    sqlalchemy.exc.DisconnectionError("x")
ResourceExhausted retryable ScaleResources no ignored caller
    [sqlalchemy_pool_timeout]
    psycopg_pool.PoolTimeout("couldn't get a connection after 30.00 sec")
    mysql.connector.errors.PoolError("pool exhausted")
Configuration final ValidateConfig no failure caller
    [sqlalchemy_unknown_dialect]
    sqlalchemy.exc.NoSuchModuleError("x")
Transport retryable RetryWithBackoff no failure path
    [sqlalchemy_psycopg_refused]
    [sqlalchemy_pymysql_refused]
DependencyService final ManualIntervention unknown failure target
    sqlalchemy.exc.OperationalError("q", {}, Exception("nobody knows"))
# MySQL
ResourceExhausted retryable ScaleResources no failure target
    pymysql.err.OperationalError(1040, "Too many connections")
    pymysql.err.OperationalError(1203, "max_user_connections")
Concurrency retryable RetryWithBackoff yes success target
    pymysql.err.OperationalError(1205, "Lock wait timeout exceeded")
    mysql.connector.errors.DatabaseError(errno=1205, msg="x", sqlstate="HY000")
    pymysql.err.OperationalError(1213, "Deadlock found when trying to get lock")
    pymysql.err.OperationalError(3572, "lock NOWAIT")
Transport retryable RetryWithBackoff no failure path
    pymysql.err.OperationalError(2002, "x")
    [pymysql_refused]
Transport retryable RetryWithBackoff unknown failure path
    pymysql.err.OperationalError(2006, "MySQL server has gone away")
    pymysql.err.OperationalError(2013, "Lost connection to MySQL server during query")
    [pymysql_hangs_up]
Configuration final ValidateConfig no failure caller Network
    pymysql.err.OperationalError(2005, "Unknown MySQL server host")
Permission final ManualIntervention no success caller
    pymysql.err.OperationalError(1045, "Access denied for user")
    [pymysql_access_denied]
Permission final ManualIntervention yes success caller
    pymysql.err.OperationalError(1142, "SELECT command denied")
DataValidation final FixCode yes success caller
    pymysql.err.IntegrityError(1062, "Duplicate entry")
    pymysql.err.IntegrityError(1451, "Cannot delete or update a parent row")
    pymysql.err.IntegrityError(1452, "Cannot add or update a child row")
    pymysql.err.IntegrityError(1048, "Column cannot be null")
    pymysql.err.DataError(1264, "Out of range value")
    pymysql.err.OperationalError(3819, "Check constraint is violated")
    pymysql.err.IntegrityError(9999, "a code of the future")
Internal final FixCode yes success caller
    pymysql.err.OperationalError(1054, "Unknown column")
    pymysql.err.ProgrammingError(1064, "You have an error in your SQL syntax")
    pymysql.err.ProgrammingError(1146, "Table doesn't exist")
Configuration final ValidateConfig no failure caller
    pymysql.err.OperationalError(1049, "Unknown database")
DependencyService retryable RetryWithBackoff yes failure target
    pymysql.err.OperationalError(1053, "Server shutdown in progress")
Timeout retryable IncreaseTimeout yes failure target
    pymysql.err.OperationalError(3024, "maximum statement execution time exceeded")
Concurrency final Fallback yes ignored caller
    pymysql.err.OperationalError(1317, "Query execution was interrupted")
ResourceExhausted final ScaleResources yes failure target
    pymysql.err.OperationalError(1114, "The table is full")
    pymysql.err.OperationalError(1021, "Disk full")
Configuration later ValidateConfig yes failure path
    pymysql.err.OperationalError(1290, "running with the --read-only option")
Internal final FixCode no ignored caller
    pymysql.err.InterfaceError(0, "")
    pymysql.err.ProgrammingError("Cursor closed")
DependencyService final ManualIntervention unknown failure target
    pymysql.err.OperationalError(9999, "a code of the future")
# Redis
Transport retryable RetryWithBackoff no failure path
    [redis_refused]
Transport retryable RetryWithBackoff unknown failure path
    redis.exceptions.ConnectionError("Connection closed by server.")
    [redis_hangs_up]
Timeout retryable IncreaseTimeout unknown failure path
    redis.exceptions.TimeoutError("Timeout reading from socket")
    [redis_silent]
Timeout retryable IncreaseTimeout no failure path
    redis.exceptions.TimeoutError("Timeout connecting to server")
DependencyService retryable RetryWithBackoff yes failure target
    redis.exceptions.BusyLoadingError("Redis is loading the dataset in memory")
    redis.exceptions.ReadOnlyError("You can't write against a read only replica.")
    redis.exceptions.ClusterDownError("CLUSTERDOWN The cluster is down")
    redis.exceptions.MasterDownError("MASTERDOWN Link with MASTER is down")
    redis.exceptions.ResponseError("LOADING Redis is loading the dataset in memory")
    redis.exceptions.ResponseError("BUSY Redis is busy running a script.")
    redis.exceptions.ResponseError("NOREPLICAS Not enough good replicas to write.")
    [redis_read_only]
DependencyService retryable RetryWithBackoff yes success target
    redis.exceptions.MovedError("3999 127.0.0.1:6381")
    redis.exceptions.ResponseError("MOVED 3999 127.0.0.1:6381")
    redis.exceptions.ResponseError("ASK 3999 127.0.0.1:6381")
Permission final ManualIntervention no success caller
    redis.exceptions.AuthenticationError("invalid username-password pair or user is disabled.")
    [redis_auth_wanted]
    [redis_auth_wrong]
Permission final ManualIntervention yes success caller
    [redis_no_permission]
ResourceExhausted later ScaleResources yes failure target
    redis.exceptions.OutOfMemoryError("command not allowed when used memory > 'maxmemory'.")
    redis.exceptions.ResponseError("OOM command not allowed when used memory > 'maxmemory'.")
    [redis_out_of_memory]
DataValidation final Fallback yes success caller
    redis.exceptions.NoScriptError("No matching script. Please use EVAL.")
    redis.exceptions.ResponseError("NOSCRIPT No matching script. Please use EVAL.")
    [redis_no_script]
Internal final FixCode yes success caller
    [redis_wrong_type]
    [redis_unknown_command]
    [redis_exec_abort]
    redis.exceptions.ResponseError("CROSSSLOT Keys in request don't hash to the same slot")
Concurrency retryable RetryWithBackoff yes success target
    [redis_watch_conflict]
    [redis_lock_taken]
    redis.exceptions.TryAgainError("Multiple keys request during rehashing of slot")
Concurrency final FixCode yes success caller
    [redis_lock_lost]
DataValidation final FixCode no ignored caller
    [redis_value_of_a_type_it_cannot_send]
Serialization final FixCode yes failure target
    redis.exceptions.InvalidResponse("Protocol Error")
DependencyService final ManualIntervention yes failure target
    redis.exceptions.ResponseError("MISCONF Redis is configured to save RDB snapshots")
DependencyService retryable RetryWithBackoff no failure target
    redis.sentinel.MasterNotFoundError("No master found for 'mymaster'")
ResourceExhausted retryable ScaleResources no ignored caller
    [redis_pool_exhausted]
# botocore
RateLimit retryable RetryWithBackoff yes failure target
    aws("Throttling", 400)
    aws("ThrottlingException", 400)
    aws("ThrottledException", 400)
    aws("RequestThrottledException", 400)
    aws("TooManyRequestsException", 400)
    aws("ProvisionedThroughputExceededException", 400)
    aws("RequestLimitExceeded", 503)
    aws("BandwidthLimitExceeded", 509)
    aws("LimitExceededException", 400)
    aws("RequestThrottled", 403)
    aws("SlowDown", 503)
    aws("PriorRequestNotComplete", 400)
    aws("EC2ThrottledException", 503)
    aws("NobodyKnows", 429)
    aws("SlowDown", 503, retry_after="3") retry_after=3.0
    [s3_slow_down]
Concurrency retryable RetryWithBackoff yes success target
    aws("TransactionInProgressException", 400)
    aws("TransactionConflictException", 400)
    aws("OperationAborted", 409)
Concurrency later FixCode yes success caller
    aws("ConditionalCheckFailedException", 400)
    aws("PreconditionFailed", 412)
Permission final ManualIntervention yes success caller
    aws("AccessDenied", 403)
    aws("AccessDeniedException", 400)
    aws("ExpiredToken", 400)
    aws("ExpiredTokenException", 400)
    aws("InvalidClientTokenId", 403)
    aws("SignatureDoesNotMatch", 403)
    aws("UnrecognizedClientException", 400)
    aws("403", 403)
    [s3_access_denied]
DataValidation final FixCode yes success caller
    aws("NoSuchKey", 404)
    aws("NoSuchBucket", 404)
    aws("ResourceNotFoundException", 400)
    aws("404", 404)
    aws("ValidationException", 400)
    aws("InvalidParameterValue", 400)
    [s3_no_such_key]
    [stubbed_no_such_key]
DependencyService retryable RetryWithBackoff yes failure target
    aws("ServiceUnavailable", 503)
    aws("InternalError", 500)
    aws("InternalFailure", 500)
    aws("InternalServerError", 500)
    aws("NobodyKnows", 500)
    [s3_internal_error]
Timeout retryable RetryWithBackoff yes failure path
    aws("RequestTimeout", 400)
    aws("RequestTimeoutException", 408)
ResourceExhausted final ScaleResources yes failure target
    aws("ServiceQuotaExceededException", 402)
Configuration final ValidateConfig yes success caller
    aws("RequestTimeTooSkewed", 403)
    aws("PermanentRedirect", 301)
Transport retryable RetryWithBackoff no failure path
    [aws_refused]
Timeout retryable IncreaseTimeout no failure path
    botocore.exceptions.ConnectTimeoutError(endpoint_url="http://x")
Timeout retryable IncreaseTimeout unknown failure path
    [aws_read_timeout]
Transport retryable RetryWithBackoff unknown failure path
    [aws_closed]
Configuration final ValidateConfig no failure caller
    [aws_no_credentials]
    [aws_no_region]
    botocore.exceptions.ProfileNotFound(profile="x")
    botocore.exceptions.PartialCredentialsError(provider="x", cred_var="y")
DataValidation final FixCode no ignored caller
    [aws_parameters]
Transport retryable RetryWithBackoff yes failure path
    botocore.exceptions.IncompleteReadError(actual_bytes=1, expected_bytes=2)
    botocore.exceptions.ResponseStreamingError(error="x")
DependencyService retryable CircuitBreak unknown failure target
    boto3.exceptions.S3UploadFailedError("Failed to upload x to y")
Permission final ManualIntervention no ignored caller
    botocore.exceptions.UnauthorizedSSOTokenError()
# Kafka
DependencyService retryable RetryWithBackoff yes failure target
    kafka.errors.LeaderNotAvailableError("x")
    kafka.errors.NotLeaderForPartitionError("x")
    kafka.errors.NotEnoughReplicasError("x")
    kafka.errors.CoordinatorNotAvailableError("x")
    kafka.errors.KafkaStorageError("x")
    aiokafka.errors.GroupLoadInProgressError("x")
    aiokafka.errors.NotLeaderForPartitionError("x")
    confluent("LEADER_NOT_AVAILABLE")
    confluent("NOT_COORDINATOR")
Timeout retryable IncreaseTimeout yes failure target
    kafka.errors.RequestTimedOutError("x")
    confluent("REQUEST_TIMED_OUT")
Timeout retryable IncreaseTimeout unknown failure path
    kafka.errors.KafkaTimeoutError("x")
    aiokafka.errors.KafkaTimeoutError("x")
    [kafka_python_refused]
    confluent("_TIMED_OUT")
    confluent("_MSG_TIMED_OUT")
Transport retryable RetryWithBackoff unknown failure path
    kafka.errors.KafkaConnectionError("x")
    aiokafka.errors.KafkaConnectionError("x")
    kafka.errors.NetworkExceptionError("x")
    [confluent_refused]
    confluent("_TRANSPORT")
Transport retryable RetryWithBackoff no failure path
    aiokafka.errors.NoBrokersAvailable("x")
    aiokafka.errors.NodeNotReadyError("x")
    confluent("_ALL_BROKERS_DOWN")
    [aiokafka_refused] unknown
Permission final ManualIntervention yes success caller
    kafka.errors.TopicAuthorizationFailedError("x")
    aiokafka.errors.GroupAuthorizationFailedError("x")
    confluent("TOPIC_AUTHORIZATION_FAILED")
Permission final ManualIntervention no success caller
    kafka.errors.SaslAuthenticationFailedError("x")
    confluent("_AUTHENTICATION")
DataValidation final FixCode yes success caller
    kafka.errors.MessageSizeTooLargeError("x")
    kafka.errors.TopicAlreadyExistsError("x")
    confluent("MSG_SIZE_TOO_LARGE")
    kafka.errors.OffsetOutOfRangeError("x")
RateLimit retryable RetryWithBackoff yes failure target
    kafka.errors.ThrottlingQuotaExceededError("x")
    confluent("THROTTLING_QUOTA_EXCEEDED")
Concurrency later RetryWithBackoff yes success caller
    kafka.errors.RebalanceInProgressError("x")
    kafka.errors.CommitFailedError("x")
    confluent("ILLEGAL_GENERATION")
Concurrency final Fallback yes success caller
    kafka.errors.ProducerFencedError("x")
    confluent("_FENCED")
ResourceExhausted retryable ScaleResources no ignored caller
    [confluent_queue_full]
Configuration retryable ValidateConfig yes success caller
    kafka.errors.UnknownTopicOrPartitionError("x")
Configuration final ValidateConfig no failure caller
    kafka.errors.KafkaConfigurationError("x")
    [confluent_configuration]
DependencyService final ManualIntervention yes failure target
    kafka.errors.UnknownError("x")
    confluent("LEADER_NOT_AVAILABLE", fatal=True)
DependencyService retryable RetryWithBackoff yes failure target
    confluent("STALE_CTRL_EPOCH", retriable=True)
Internal final FixCode no ignored caller
    kafka.errors.IllegalStateError("x")
    confluent("_STATE")
# AMQP
Transport retryable RetryWithBackoff unknown failure path
    pika.exceptions.StreamLostError("x")
    pika.exceptions.AMQPConnectionError("x")
    amqp.exceptions.RecoverableConnectionError("connection already closed")
    [pika_refused]
DependencyService retryable RetryWithBackoff yes failure target
    pika.exceptions.ConnectionClosedByBroker(320, "CONNECTION_FORCED - broker forced it")
    pika.exceptions.NackError([])
    amqp.exceptions.ConnectionForced("x")
DependencyService final ManualIntervention yes failure target
    pika.exceptions.ConnectionClosedByBroker(541, "INTERNAL_ERROR")
Permission final ManualIntervention yes success caller
    pika.exceptions.ChannelClosedByBroker(403, "ACCESS_REFUSED")
    amqp.exceptions.AccessRefused("x")
Permission final ManualIntervention no success caller
    pika.exceptions.ProbableAuthenticationError("x")
    pika.exceptions.AuthenticationError("x")
DataValidation final FixCode yes success caller
    pika.exceptions.ChannelClosedByBroker(404, "NOT_FOUND - no queue 'x'")
    amqp.exceptions.NotFound("no queue 'x'")
Concurrency retryable RetryWithBackoff yes success target
    pika.exceptions.ChannelClosedByBroker(405, "RESOURCE_LOCKED")
Configuration final ValidateConfig yes success caller
    pika.exceptions.ChannelClosedByBroker(406, "PRECONDITION_FAILED")
    pika.exceptions.UnroutableError([])
ResourceExhausted retryable ScaleResources yes failure target
    pika.exceptions.ChannelClosedByBroker(506, "RESOURCE_ERROR")
    pika.exceptions.ConnectionBlockedTimeout("x")
Internal final FixCode no ignored caller
    pika.exceptions.ChannelWrongStateError("x")
    pika.exceptions.DuplicateConsumerTag("x")
Concurrency final Fallback no ignored caller
    pika.exceptions.ConnectionClosedByClient(200, "Normal shutdown")
Timeout retryable IncreaseTimeout unknown failure path
    pika.exceptions.AMQPHeartbeatTimeout("x")
VersionMismatch final ManualIntervention no failure path
    pika.exceptions.IncompatibleProtocolError("x")
    [pika_hangs_up]
# MongoDB
Transport retryable RetryWithBackoff no failure path
    [mongo_refused]
    pymongo.errors.ServerSelectionTimeoutError("x")
Transport retryable RetryWithBackoff unknown failure path
    pymongo.errors.AutoReconnect("x")
    pymongo.errors.ConnectionFailure("x")
Timeout retryable IncreaseTimeout unknown failure path
    pymongo.errors.NetworkTimeout("x")
DependencyService retryable RetryWithBackoff yes failure target
    pymongo.errors.NotPrimaryError("x", {"code": 10107})
    mongo(91)
    mongo(189)
    mongo(11600)
    mongo(13435)
Concurrency retryable RetryWithBackoff yes success target
    mongo(112)
    mongo(251)
    mongo(112, "TransientTransactionError")
DependencyService retryable RetryWithBackoff yes failure target
    mongo(987654, "RetryableWriteError")
DependencyService final ManualIntervention yes failure target
    mongo(987654)
    mongo(1)
Permission final ManualIntervention no success caller
    mongo(18)
Permission final ManualIntervention yes success caller
    mongo(13)
DataValidation final FixCode yes success caller
    pymongo.errors.DuplicateKeyError("x", 11000)
    mongo(121)
    mongo(2)
    mongo(26)
    gridfs.errors.NoFile("x")
    pymongo.errors.BulkWriteError({"writeErrors": [{"index": 0, "code": 11000}]})
Timeout retryable IncreaseTimeout yes failure target
    pymongo.errors.ExecutionTimeout("operation exceeded time limit", 50)
    mongo(50)
Timeout later IncreaseTimeout yes failure target
    pymongo.errors.WTimeoutError("waiting for replication timed out", 64)
ResourceExhausted final ScaleResources yes failure target
    mongo(14031)
ResourceExhausted retryable ScaleResources no ignored caller
    pymongo.errors.WaitQueueTimeoutError("x")
Configuration final ValidateConfig no failure caller
    [mongo_uri]
    pymongo.errors.ConfigurationError("x")
DataValidation final FixCode no ignored caller
    pymongo.errors.InvalidName("x")
    pymongo.errors.DocumentTooLarge("x")
Internal final FixCode no ignored caller
    [mongo_closed]
Serialization final FixCode no failure caller
    bson.errors.InvalidDocument("cannot encode object")
VersionMismatch final ManualIntervention yes success caller
    mongo(59)
"""

PERMANENCE = {"retryable": (True, True), "later": (False, True), "final": (False, False)}
FIELDS = (
    "kind", "permanence", "recovery_strategy", "reached_server", "counts_as", "origin", "category",
)  # fmt: skip
OTHER = {"no", "unknown", "yes"}


def entries():
    """(how, expected) of every entry; expected by the name of the field.

    What follows an entry in its line changes the heading for it: how far it went, where it comes
    from, or how long to wait.
    """
    from faultplane.classify import KINDS, Kind

    found = []
    for line in CORPUS.splitlines():
        if not line or line.startswith("#"):
            continue
        if not line.startswith(" "):
            heading = dict(zip(FIELDS, line.split(), strict=False))
            heading.setdefault("category", KINDS[Kind(heading["kind"])].category.value)
            retryable, temporary = PERMANENCE[heading.pop("permanence")]
            heading |= {"retryable": retryable, "temporary": temporary, "retry_after": None}
            continue
        end = max(line.rfind(")"), line.rfind("]")) + 1
        expected = dict(heading)
        for word in line[end:].split():
            if word.startswith("retry_after="):
                expected["retry_after"] = float(word.partition("=")[2])
            else:
                expected["reached_server" if word in OTHER else "origin"] = word
        found.append((line[:end].strip(), expected))
    return found
