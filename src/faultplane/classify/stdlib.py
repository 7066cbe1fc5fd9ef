"""What the exceptions of Python and its standard library say, by the name of the type.

The names are those in the ``type`` column of a record: module and qualified name, ``builtins.``
left off. A subclass that is not named takes the answer of its nearest named base. Nothing is
imported for the table, so it also holds modules that a platform or a version does not have.

Decisions that could have gone another way:

* What only the program's own text can cause (TypeError, AttributeError, NameError, AssertionError,
  NotImplementedError, SyntaxError ...) is Internal, FixCode, and ``ignored``: it says nothing about
  the health of whatever was being called.
* LookupError (KeyError, IndexError) and ArithmeticError are Processing, FixCode, and count as a
  failure: the data often comes from the other side. ValueError is DataValidation of low
  confidence, ImportError is Configuration: something is not installed.
* ``asyncio.CancelledError``, KeyboardInterrupt, SystemExit, GeneratorExit and any other
  BaseException that is not an Exception: never retryable, Low, ``ignored``. A cancellation has the
  strategy Fallback because the vocabulary has no "do nothing".
* A refused certificate is Permission (the peer could not be authenticated), a TLS version or
  cipher that the two sides do not share is VersionMismatch; nothing of the request was sent.
* RuntimeError, a plain Exception, an OSError without a number and types nobody knows take the
  answer of their ``__cause__`` if they have one; other types do not, and ``__context__`` never
  counts, since an error in a handler is an error of its own.
"""

from typing import Any, Final, NamedTuple

from faultplane.classify import judges
from faultplane.classify.classification import Classification, shared
from faultplane.classify.judgement import Judge
from faultplane.classify.table import Table

__all__ = ["BUILT_IN", "Entry"]


class Entry(NamedTuple):
    """A row of the table: the answer for the type, and who refines it for an instance."""

    answer: Classification
    judge: Judge | None


_NEVER: Final[dict[str, Any]] = {"retryable": False, "temporary": False}
_LATER: Final[dict[str, Any]] = {"retryable": True, "temporary": True}
_UNSENT: Final[dict[str, Any]] = {"reached_server": "no"}
_ANSWERED: Final[dict[str, Any]] = {"origin": "target", "reached_server": "yes"}
_IGNORED: Final[dict[str, Any]] = {"counts_as": "ignored"}
_MEDIUM: Final[dict[str, Any]] = {"severity": "Medium"}
_CERTAIN: Final[dict[str, Any]] = {"confidence": 1.0}
_GUESS: Final[dict[str, Any]] = {"confidence": 0.5}
_VALIDATE: Final[dict[str, Any]] = {"recovery_strategy": "ValidateConfig"}
_BY_HAND: Final[dict[str, Any]] = {"recovery_strategy": "ManualIntervention"}
_QUIET: Final[dict[str, Any]] = {**_NEVER, **_IGNORED, **_CERTAIN, "severity": "Low"}
_STOPPED: Final[dict[str, Any]] = {**_QUIET, "recovery_strategy": "Fallback"}
_WARNED: Final[dict[str, Any]] = {**_QUIET, "recovery_strategy": "FixCode"}
_FLOW: Final[dict[str, Any]] = {**_IGNORED, "severity": "Low"}
_BUG: Final[dict[str, Any]] = {**_IGNORED, "confidence": 0.9}
_TRUNCATED: Final[dict[str, Any]] = {**_MEDIUM, "origin": "path"}


class _Written(NamedTuple):
    """The rows of some types as they stand below; an empty kind is the unknown one."""

    names: str
    kind: str
    fields: dict[str, Any]
    judge: Judge | None


def _says(kind: str, names: str, *, judge: Judge | None = None, **fields: Any) -> _Written:
    """Rows for the types in ``names``; what is not said follows from the kind, confidence 0.8."""
    return _Written(names, kind, {"confidence": 0.8, **fields}, judge)


def _make(name: str, row: _Written) -> Entry:
    if not row.kind:
        return Entry(judges.UNKNOWN, row.judge)
    return Entry(shared(Classification(row.kind, rule=name, **row.fields)), row.judge)


_INTERPRETER: Final = (
    _Written("Exception", "", {}, judges.by_cause),
    _says("Internal", "BaseException", **_STOPPED),
    _says("Processing", "KeyboardInterrupt SystemExit", category="System", **_STOPPED),
    _says("Concurrency", "GeneratorExit asyncio.exceptions.CancelledError", **_STOPPED),
    _says("Internal", "BaseExceptionGroup ExceptionGroup", judge=judges.by_group, **_GUESS),
    _says(
        "Internal",
        "TypeError AttributeError NameError AssertionError NotImplementedError SyntaxError "
        "ReferenceError BufferError StopIteration StopAsyncIteration copy.Error "
        "dataclasses.FrozenInstanceError inspect.ClassFoundException inspect.EndOfBlock",
        **_BUG,
    ),
    _says("Internal", "SystemError", severity="Critical", **_BUG),
    _says("Internal", "RuntimeError", judge=judges.by_cause, confidence=0.4),
    _says("Processing", "LookupError ArithmeticError statistics.StatisticsError", **_MEDIUM),
    _says("DataValidation", "ValueError", **_GUESS),
    _says("Configuration", "ImportError encodings.CodecRegistryError"),
    _says("Serialization", "EOFError", **_TRUNCATED, **_GUESS),
    _says("ResourceExhausted", "MemoryError", **_CERTAIN),
    # The stack ran out because the program recursed; more of it would run out as well.
    _says(
        "ResourceExhausted",
        "RecursionError",
        **{**_NEVER, **_IGNORED, "severity": "High", "recovery_strategy": "FixCode"},
    ),
    _says("Processing", "Warning", **_WARNED),
    _says(
        "VersionMismatch",
        "DeprecationWarning PendingDeprecationWarning FutureWarning",
        **_WARNED,
    ),
    _says("ResourceExhausted", "ResourceWarning", **_WARNED),
    _says("Serialization", "BytesWarning UnicodeWarning EncodingWarning", **_WARNED),
    _says("Configuration", "ImportWarning zoneinfo._tzpath.InvalidTZPathWarning", **_WARNED),
    _says("Concurrency", "PythonFinalizationError", **_STOPPED),
)

_OPERATING_SYSTEM: Final = (
    _says("Internal", "OSError", judge=judges.by_errno_or_cause, confidence=0.3),
    _says("Transport", "ConnectionError", judge=judges.by_errno),
    _says(
        "Transport",
        "ConnectionRefusedError",
        judge=judges.by_errno,
        **{**_UNSENT, **_CERTAIN, "origin": "target"},
    ),
    _says(
        "Transport",
        "ConnectionResetError ConnectionAbortedError BrokenPipeError",
        judge=judges.by_errno,
        **_CERTAIN,
    ),
    _says("Timeout", "TimeoutError", judge=judges.by_errno, **_CERTAIN),
    _says("Permission", "PermissionError", judge=judges.by_errno, **_UNSENT),
    _says(
        "Configuration",
        "FileNotFoundError NotADirectoryError IsADirectoryError",
        judge=judges.by_errno,
        **{**_MEDIUM, "confidence": 0.6},
    ),
    _says(
        "Processing",
        "FileExistsError",
        judge=judges.by_errno,
        **{**_MEDIUM, **_UNSENT, **_IGNORED, "confidence": 0.6},
    ),
    _says("Concurrency", "BlockingIOError", judge=judges.by_errno, **_UNSENT),
    _says("Concurrency", "InterruptedError", judge=judges.by_errno, **_FLOW),
    _says(
        "Concurrency",
        "ChildProcessError ProcessLookupError",
        judge=judges.by_errno,
        **{**_NEVER, **_UNSENT, **_IGNORED, "recovery_strategy": "FixCode", "confidence": 0.7},
    ),
    _says("Internal", "io.UnsupportedOperation", **{**_BUG, **_UNSENT}),
    _says("Transport", "socket.gaierror", judge=judges.by_resolver, **_UNSENT, **_GUESS),
    _says("Transport", "socket.herror", judge=judges.by_host, **_UNSENT, **_GUESS),
    _says("VersionMismatch", "socket._GiveupOnSendfile shutil._GiveupOnFastCopy", **_IGNORED),
    _says("VersionMismatch", "asyncio.exceptions.SendfileNotAvailableError", **_IGNORED),
    _says("DataValidation", "signal.itimer_error", **_UNSENT),
    _says("Processing", "shutil.Error shutil.SpecialFileError", **_MEDIUM),
    _says("Configuration", "shutil.ExecError"),
    _says("Serialization", "shutil.ReadError"),
    _says("DataValidation", "shutil.SameFileError"),
    _says("Internal", "shutil.RegistryError", **_BUG),
    _says("Configuration", "locale.Error webbrowser.Error nis.error"),
    _says("Internal", "termios.error _curses.error _curses_panel.error", **_GUESS),
    _says("Internal", "_tkinter.TclError ossaudiodev.OSSAudioError", **_GUESS),
    _says("Internal", "ctypes.ArgumentError audioop.error", **_BUG),
)

_TLS: Final = (
    _says("Transport", "ssl.SSLError", judge=judges.by_tls_reason, **_UNSENT, **_GUESS),
    _says("Transport", "ssl.SSLEOFError ssl.SSLZeroReturnError ssl.SSLSyscallError"),
    _says("Concurrency", "ssl.SSLWantReadError ssl.SSLWantWriteError", **_FLOW),
    _says(
        "Permission",
        "ssl.SSLCertVerificationError",
        judge=judges.by_certificate,
        **{**_UNSENT, **_CERTAIN, "origin": "path", "counts_as": "failure"},
    ),
)

_TOGETHER: Final = (
    _says("Concurrency", "concurrent.futures._base.CancelledError", **_STOPPED),
    _says("Concurrency", "concurrent.futures._base.Error", **_GUESS),
    _says(
        "Internal",
        "asyncio.exceptions.InvalidStateError concurrent.futures._base.InvalidStateError "
        "multiprocessing.resource_tracker.ReentrantCallError",
        **_BUG,
    ),
    _says("Transport", "asyncio.exceptions.IncompleteReadError", **_CERTAIN),
    _says("DataValidation", "asyncio.exceptions.LimitOverrunError", counts_as="failure"),
    _says("Concurrency", "asyncio.exceptions.BrokenBarrierError threading.BrokenBarrierError"),
    _says("ResourceExhausted", "asyncio.queues.QueueFull queue.Full", **_LATER, **_MEDIUM),
    _says("Concurrency", "asyncio.queues.QueueEmpty _queue.Empty queue.Empty", **_FLOW),
    _says("Concurrency", "asyncio.queues.QueueShutDown queue.ShutDown", **_STOPPED),
    _says("Concurrency", "_frozen_importlib._DeadlockError"),
    # The workers died: of memory, a signal or a crash. A new pool may do; this one will not.
    _says(
        "ResourceExhausted",
        "concurrent.futures._base.BrokenExecutor",
        retryable=False,
        severity="High",
        confidence=0.6,
    ),
    _says("Internal", "concurrent.futures.thread.BrokenThreadPool", **_BUG),
    _says("Processing", "concurrent.futures.process._RemoteTraceback"),
    _says("Processing", "multiprocessing.pool.RemoteTraceback"),
    _says("Processing", "concurrent.interpreters.ExecutionFailed"),
    _says("Internal", "concurrent.interpreters.InterpreterError interpreters.InterpreterError"),
    _says("Concurrency", "multiprocessing.context.ProcessError", **_GUESS),
    _says("Timeout", "multiprocessing.context.TimeoutError", **_CERTAIN),
    _says("Permission", "multiprocessing.context.AuthenticationError", **_UNSENT),
    _says("Serialization", "multiprocessing.context.BufferTooShort"),
    _says("Serialization", "multiprocessing.pool.MaybeEncodingError"),
    _says("DependencyService", "multiprocessing.managers.RemoteError", **_NEVER, **_GUESS),
    _says("DependencyService", "subprocess.SubprocessError", **_NEVER, **_GUESS),
    _says("Timeout", "subprocess.TimeoutExpired", **_CERTAIN, origin="target"),
    _says(
        "DependencyService",
        "subprocess.CalledProcessError",
        judge=judges.by_return_code,
        **{**_NEVER, "recovery_strategy": "FixCode", "confidence": 0.6},
    ),
    _says("Processing", "runpy._Error py_compile.PyCompileError"),
)

_FORMATS: Final = (
    _says(
        "Serialization",
        "json.decoder.JSONDecodeError UnicodeError struct.error binascii.Error binascii.Incomplete "
        "_pickle.PickleError pickle.PickleError pickle._Stop zlib.error gzip.BadGzipFile "
        "_lzma.LZMAError compression.zstd.ZstdError _csv.Error xml.parsers.expat.ExpatError "
        "xml.etree.ElementTree.ParseError xml.sax._exceptions.SAXParseException "
        "xml.dom.expatbuilder.ParseEscape zipfile.BadZipFile tarfile.TarError "
        "plistlib.InvalidFileException uu.Error wave.Error aifc.Error sunau.Error xdrlib.Error "
        "email.errors.MessageError email.errors.MessageDefect http.cookies.CookieError "
        "http.cookiejar.LoadError mailbox.FormatError tokenize.TokenError tokenize.StopTokenizing "
        "tabnanny.NannyNag",
        **_CERTAIN,
    ),
    _says("Serialization", "xml.sax._exceptions.SAXException"),
    _says(
        "VersionMismatch",
        "xml.sax._exceptions.SAXNotRecognizedException "
        "xml.sax._exceptions.SAXNotSupportedException zipfile.LargeZipFile "
        "tarfile.CompressionError",
    ),
    _says("Configuration", "xml.etree.ElementInclude.FatalIncludeError"),
    # A member that would land outside the destination: hostile input, most likely.
    _says("Permission", "tarfile.FilterError"),
    _says("Processing", "tarfile.ExtractError tarfile.StreamError xml.dom.DOMException"),
    _says(
        "Configuration",
        "configparser.Error tomllib.TOMLDecodeError "
        "netrc.NetrcParseError getopt.GetoptError argparse.ArgumentError "
        "argparse.ArgumentTypeError optparse.OptParseError _hashlib.UnsupportedDigestmodError "
        "zipapp.ZipAppError",
        **_UNSENT,
    ),
    _says("Configuration", "zoneinfo._common.ZoneInfoNotFoundError", **_UNSENT),
    _says("Internal", "optparse.OptionError", **_BUG),
    _says("Internal", "re.error re.PatternError", **_BUG),
    _says(
        "DataValidation",
        "ipaddress.AddressValueError ipaddress.NetmaskValueError graphlib.CycleError "
        "calendar.IllegalMonthError calendar.IllegalWeekdayError mailbox.NoSuchMailboxError",
    ),
    _says("Concurrency", "mailbox.ExternalClashError"),
    _says("Processing", "mailbox.Error", **_MEDIUM),
)

_NETWORK: Final = (
    _says(
        "DependencyService",
        "http.client.HTTPException",
        judge=judges.by_cause,
        **_NEVER,
        **_GUESS,
    ),
    # The server closed a connection that was kept alive, often before it read the request.
    _says("Transport", "http.client.RemoteDisconnected", judge=judges.by_errno, **_CERTAIN),
    _says("Transport", "http.client.IncompleteRead", **_CERTAIN, reached_server="yes"),
    _says("Transport", "http.client.BadStatusLine", confidence=0.7, origin="target"),
    _says(
        "DependencyService",
        "http.client.LineTooLong http.client.UnknownTransferEncoding",
        **{**_NEVER, "confidence": 0.7},
    ),
    _says("VersionMismatch", "http.client.UnknownProtocol", **_ANSWERED),
    # A connection used out of turn, by two threads or before the last answer was read.
    _says(
        "Internal",
        "http.client.ImproperConnectionState http.client.UnimplementedFileMode",
        **{**_BUG, **_UNSENT},
    ),
    _says("Transport", "http.client.NotConnected", **_UNSENT),
    _says("DataValidation", "http.client.InvalidURL", **_UNSENT),
    _says(
        "Configuration", "urllib.error.URLError", judge=judges.by_url_reason, **_UNSENT, **_GUESS
    ),
    _says("DependencyService", "urllib.error.HTTPError", judge=judges.by_http_error, **_GUESS),
    _says("Transport", "urllib.error.ContentTooShortError", **_CERTAIN, reached_server="yes"),
    _says("DependencyService", "xmlrpc.client.Error", **_NEVER, **_GUESS),
    _says("DependencyService", "xmlrpc.client.ProtocolError", judge=judges.by_http_error),
    _says("Serialization", "xmlrpc.client.ResponseError", origin="target", reached_server="yes"),
    _says("DependencyService", "smtplib.SMTPException", judge=judges.by_cause, **_GUESS),
    _says("Transport", "smtplib.SMTPServerDisconnected", **_CERTAIN),
    _says("VersionMismatch", "smtplib.SMTPNotSupportedError", **_ANSWERED),
    _says("DependencyService", "smtplib.SMTPResponseException", judge=judges.by_smtp_code),
    _says(
        "DependencyService",
        "smtplib.SMTPConnectError",
        judge=judges.by_smtp_code,
        reached_server="no",
    ),
    _says(
        "Permission",
        "smtplib.SMTPAuthenticationError",
        judge=judges.by_smtp_code,
        reached_server="yes",
        counts_as="success",
    ),
    _says("DataValidation", "smtplib.SMTPRecipientsRefused", judge=judges.by_smtp_recipients),
    _says("DependencyService", "ftplib.Error", judge=judges.by_ftp_code, **_GUESS),
    _says("DependencyService", "ftplib.error_perm", judge=judges.by_ftp_code, **_NEVER, **_GUESS),
    _says("VersionMismatch", "ftplib.error_reply ftplib.error_proto", **_ANSWERED, **_GUESS),
    _says(
        "DependencyService",
        "poplib.error_proto imaplib.IMAP4.error",
        judge=judges.by_bracket_code,
        **{**_NEVER, "recovery_strategy": "ManualIntervention", "confidence": 0.6},
    ),
    # imaplib: the connection must be made anew.
    _says("Transport", "imaplib.IMAP4.abort", **_CERTAIN),
    _says("Permission", "imaplib.IMAP4.readonly", reached_server="yes", counts_as="success"),
    _says("DependencyService", "nntplib.NNTPError", **_NEVER, **_GUESS),
    _says("DependencyService", "nntplib.NNTPTemporaryError"),
)

_STORAGE: Final = (
    _says("DependencyService", "sqlite3.Error", judge=judges.by_sqlite_code, **_NEVER, **_GUESS),
    _says(
        "DependencyService",
        "sqlite3.OperationalError sqlite3.InternalError",
        judge=judges.by_sqlite_code,
        **{**_NEVER, **_BY_HAND, "confidence": 0.6},
    ),
    _says(
        "DataValidation",
        "sqlite3.IntegrityError sqlite3.DataError",
        judge=judges.by_sqlite_code,
        **{**_ANSWERED, "origin": "caller", "counts_as": "success"},
    ),
    _says(
        "Internal",
        "sqlite3.ProgrammingError sqlite3.InterfaceError sqlite3.Warning",
        judge=judges.by_sqlite_code,
        **_BUG,
    ),
    _says("VersionMismatch", "sqlite3.NotSupportedError", judge=judges.by_sqlite_code),
    _says("DependencyService", "dbm.error _gdbm.error _dbm.error dbm.sqlite3.error", **_NEVER),
)

# Raised by tools rather than by services; named so that nothing of the library is "unknown".
_TOOLS: Final = (
    _says("Processing", "bdb.BdbQuit pdb.Restart asyncore.ExitNow turtle.Terminator", **_STOPPED),
    _says("Processing", "doctest.DocTestFailure doctest.UnexpectedException", **_MEDIUM),
    _says("Internal", "turtle.TurtleGraphicsError unittest.mock.InvalidSpecError", **_BUG),
    _says("Configuration", "warnings._OptionError _pyrepl.keymap.KeySpecError"),
    _says("Configuration", "_pyrepl._minimal_curses.error"),
    _says("Configuration", "pydoc.ErrorDuringImport importlib.resources.abc.TraversalError"),
    _says(
        "Processing",
        "unittest.case.SkipTest unittest.case._ShouldStop unittest.case._UnexpectedSuccess",
        **_STOPPED,
    ),
    _says("Processing", "distutils.errors.DistutilsError distutils.errors.CCompilerError"),
)

# This library's own, so that what goes wrong with it reads like everything else.
_OURS: Final = (
    _says("Export", "faultplane.errors.StorageError", **_UNSENT),
    _says("ResourceExhausted", "faultplane.errors.StorageFull", **_NEVER, **_UNSENT),
    _says("Permission", "faultplane.errors.UnsafeDirectory", **_UNSENT),
    _says("Serialization", "faultplane.errors.CorruptFile"),
    _says("Concurrency", "faultplane.errors.DomainBusy", **_UNSENT),
    _says(
        "VersionMismatch",
        "faultplane.errors.LayoutMismatch faultplane.errors.NativeMismatch",
        **_VALIDATE,
    ),
    _says(
        "Configuration",
        "faultplane.errors.FaultplaneError faultplane.errors.DomainNotFound "
        "faultplane.errors.CoreNotFound faultplane.errors.MissingExtra "
        "faultplane.errors.WrongInterpreter "
        "faultplane.errors.InvalidName faultplane.errors.InvalidSetting",
    ),
    _says("DataValidation", "faultplane.errors.QueryError faultplane.errors.StackNotFound"),
)

_ALL: Final = (
    _INTERPRETER
    + _OPERATING_SYSTEM
    + _TLS
    + _TOGETHER
    + _FORMATS
    + _NETWORK
    + _STORAGE
    + _TOOLS
    + _OURS
)

BUILT_IN: Final = Table({name: row for row in _ALL for name in row.names.split()}, _make)
"""Rows by the name of the type."""
