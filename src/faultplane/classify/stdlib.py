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
  strategy Fallback because none says "do nothing".
* A refused certificate is Permission (the peer could not be authenticated), a TLS version or
  cipher that the two sides do not share is VersionMismatch; nothing of the request was sent.
* RuntimeError, a plain Exception, an OSError without a number and types nobody knows take the
  answer of their ``__cause__`` if they have one; other types do not, and ``__context__`` never
  counts, since an error in a handler is an error of its own.
"""

from typing import Final

from faultplane.classify import judges
from faultplane.classify import vocabulary as v
from faultplane.classify.table import Table

__all__ = ["BUILT_IN"]

_WARNED: Final = {**v.QUIET, **v.FIX}
_TRUNCATED: Final = {**v.MEDIUM, "origin": "path"}


def _make(name: str, row: v.Said) -> v.Entry:
    if not row.kind:
        return v.Entry(judges.UNKNOWN, row.judge)
    return v.entry_of(name, row.kind, row.fields, row.judge)


_INTERPRETER: Final = (
    v.Said("Exception", "", {}, judges.by_cause),
    v.says("Internal", "BaseException", **v.STOPPED),
    v.says("Processing", "KeyboardInterrupt SystemExit", category="System", **v.STOPPED),
    v.says("Concurrency", "GeneratorExit asyncio.exceptions.CancelledError", **v.STOPPED),
    v.says("Internal", "BaseExceptionGroup ExceptionGroup", judge=judges.by_group, **v.GUESS),
    v.says(
        "Internal",
        "TypeError AttributeError NameError AssertionError NotImplementedError SyntaxError "
        "ReferenceError BufferError StopIteration StopAsyncIteration copy.Error "
        "dataclasses.FrozenInstanceError inspect.ClassFoundException inspect.EndOfBlock",
        **v.BUG,
    ),
    v.says("Internal", "SystemError", severity="Critical", **v.BUG),
    v.says("Internal", "RuntimeError", judge=judges.by_cause, confidence=0.4),
    v.says("Processing", "LookupError ArithmeticError statistics.StatisticsError", **v.MEDIUM),
    v.says("DataValidation", "ValueError", **v.GUESS),
    v.says("Configuration", "ImportError encodings.CodecRegistryError"),
    v.says("Serialization", "EOFError", **_TRUNCATED, **v.GUESS),
    v.says("ResourceExhausted", "MemoryError", **v.CERTAIN),
    # The stack ran out because the program recursed; more of it would run out as well.
    v.says(
        "ResourceExhausted",
        "RecursionError",
        **{**v.FINAL, **v.IGNORED, "severity": "High", **v.FIX},
    ),
    v.says("Processing", "Warning", **_WARNED),
    v.says(
        "VersionMismatch",
        "DeprecationWarning PendingDeprecationWarning FutureWarning",
        **_WARNED,
    ),
    v.says("ResourceExhausted", "ResourceWarning", **_WARNED),
    v.says("Serialization", "BytesWarning UnicodeWarning EncodingWarning", **_WARNED),
    v.says("Configuration", "ImportWarning zoneinfo._tzpath.InvalidTZPathWarning", **_WARNED),
    v.says("Concurrency", "PythonFinalizationError", **v.STOPPED),
)

_OPERATING_SYSTEM: Final = (
    v.says("Internal", "OSError", judge=judges.by_errno_or_cause, confidence=0.3),
    v.says("Transport", "ConnectionError", judge=judges.by_errno),
    v.says(
        "Transport",
        "ConnectionRefusedError",
        judge=judges.by_errno,
        **{**v.UNSENT, **v.CERTAIN, "origin": "target"},
    ),
    v.says(
        "Transport",
        "ConnectionResetError ConnectionAbortedError BrokenPipeError",
        judge=judges.by_errno,
        **v.CERTAIN,
    ),
    v.says("Timeout", "TimeoutError", judge=judges.by_errno, **v.CERTAIN),
    v.says("Permission", "PermissionError", judge=judges.by_errno, **v.UNSENT),
    v.says(
        "Configuration",
        "FileNotFoundError NotADirectoryError IsADirectoryError",
        judge=judges.by_errno,
        **{**v.MEDIUM, "confidence": 0.6},
    ),
    v.says(
        "Processing",
        "FileExistsError",
        judge=judges.by_errno,
        **{**v.MEDIUM, **v.LOCAL, "confidence": 0.6},
    ),
    v.says("Concurrency", "BlockingIOError", judge=judges.by_errno, **v.UNSENT),
    v.says("Concurrency", "InterruptedError", judge=judges.by_errno, **v.FLOW),
    v.says(
        "Concurrency",
        "ChildProcessError ProcessLookupError",
        judge=judges.by_errno,
        **{**v.FINAL, **v.LOCAL, **v.FIX, **v.LIKELY},
    ),
    v.says("Internal", "io.UnsupportedOperation", **v.BUG, **v.UNSENT),
    v.says("Transport", "socket.gaierror", judge=judges.by_resolver, **v.UNSENT, **v.GUESS),
    v.says("Transport", "socket.herror", judge=judges.by_host, **v.UNSENT, **v.GUESS),
    v.says("VersionMismatch", "socket._GiveupOnSendfile shutil._GiveupOnFastCopy", **v.IGNORED),
    v.says("VersionMismatch", "asyncio.exceptions.SendfileNotAvailableError", **v.IGNORED),
    v.says("DataValidation", "signal.itimer_error", **v.UNSENT),
    v.says("Processing", "shutil.Error shutil.SpecialFileError", **v.MEDIUM),
    v.says("Configuration", "shutil.ExecError"),
    v.says("Serialization", "shutil.ReadError"),
    v.says("DataValidation", "shutil.SameFileError"),
    v.says("Internal", "shutil.RegistryError", **v.BUG),
    v.says("Configuration", "locale.Error webbrowser.Error nis.error"),
    v.says("Internal", "termios.error _curses.error _curses_panel.error", **v.GUESS),
    v.says("Internal", "_tkinter.TclError ossaudiodev.OSSAudioError", **v.GUESS),
    v.says("Internal", "ctypes.ArgumentError audioop.error", **v.BUG),
)

_TLS: Final = (
    v.says("Transport", "ssl.SSLError", judge=judges.by_tls_reason, **v.UNSENT, **v.GUESS),
    v.says("Transport", "ssl.SSLEOFError ssl.SSLZeroReturnError ssl.SSLSyscallError"),
    v.says("Concurrency", "ssl.SSLWantReadError ssl.SSLWantWriteError", **v.FLOW),
    v.says(
        "Permission",
        "ssl.SSLCertVerificationError",
        judge=judges.by_certificate,
        **{**v.UNSENT, **v.CERTAIN, "origin": "path", "counts_as": "failure"},
    ),
)

_TOGETHER: Final = (
    v.says("Concurrency", "concurrent.futures._base.CancelledError", **v.STOPPED),
    v.says("Concurrency", "concurrent.futures._base.Error", **v.GUESS),
    v.says(
        "Internal",
        "asyncio.exceptions.InvalidStateError concurrent.futures._base.InvalidStateError "
        "multiprocessing.resource_tracker.ReentrantCallError",
        **v.BUG,
    ),
    v.says("Transport", "asyncio.exceptions.IncompleteReadError", **v.CERTAIN),
    v.says("DataValidation", "asyncio.exceptions.LimitOverrunError", counts_as="failure"),
    v.says("Concurrency", "asyncio.exceptions.BrokenBarrierError threading.BrokenBarrierError"),
    v.says("ResourceExhausted", "asyncio.queues.QueueFull queue.Full", **v.AGAIN, **v.MEDIUM),
    v.says("Concurrency", "asyncio.queues.QueueEmpty _queue.Empty queue.Empty", **v.FLOW),
    v.says("Concurrency", "asyncio.queues.QueueShutDown queue.ShutDown", **v.STOPPED),
    v.says("Concurrency", "_frozen_importlib._DeadlockError"),
    # The workers died: of memory, a signal or a crash. A new pool may do; this one will not.
    v.says(
        "ResourceExhausted",
        "concurrent.futures._base.BrokenExecutor",
        retryable=False,
        severity="High",
        confidence=0.6,
    ),
    v.says("Internal", "concurrent.futures.thread.BrokenThreadPool", **v.BUG),
    v.says("Processing", "concurrent.futures.process._RemoteTraceback"),
    v.says("Processing", "multiprocessing.pool.RemoteTraceback"),
    v.says("Processing", "concurrent.interpreters.ExecutionFailed"),
    v.says("Internal", "concurrent.interpreters.InterpreterError interpreters.InterpreterError"),
    v.says("Concurrency", "multiprocessing.context.ProcessError", **v.GUESS),
    v.says("Timeout", "multiprocessing.context.TimeoutError", **v.CERTAIN),
    v.says("Permission", "multiprocessing.context.AuthenticationError", **v.UNSENT),
    v.says("Serialization", "multiprocessing.context.BufferTooShort"),
    v.says("Serialization", "multiprocessing.pool.MaybeEncodingError"),
    v.says("DependencyService", "multiprocessing.managers.RemoteError", **v.FINAL, **v.GUESS),
    v.says("DependencyService", "subprocess.SubprocessError", **v.FINAL, **v.GUESS),
    v.says("Timeout", "subprocess.TimeoutExpired", **v.CERTAIN, origin="target"),
    v.says(
        "DependencyService",
        "subprocess.CalledProcessError",
        judge=judges.by_return_code,
        **{**v.FINAL, **v.FIX, "confidence": 0.6},
    ),
    v.says("Processing", "runpy._Error py_compile.PyCompileError"),
)

_FORMATS: Final = (
    v.says(
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
        **v.CERTAIN,
    ),
    v.says("Serialization", "xml.sax._exceptions.SAXException"),
    v.says(
        "VersionMismatch",
        "xml.sax._exceptions.SAXNotRecognizedException "
        "xml.sax._exceptions.SAXNotSupportedException zipfile.LargeZipFile "
        "tarfile.CompressionError",
    ),
    v.says("Configuration", "xml.etree.ElementInclude.FatalIncludeError"),
    # A member that would land outside the destination: hostile input, most likely.
    v.says("Permission", "tarfile.FilterError"),
    v.says("Processing", "tarfile.ExtractError tarfile.StreamError xml.dom.DOMException"),
    v.says(
        "Configuration",
        "configparser.Error tomllib.TOMLDecodeError "
        "netrc.NetrcParseError getopt.GetoptError argparse.ArgumentError "
        "argparse.ArgumentTypeError optparse.OptParseError _hashlib.UnsupportedDigestmodError "
        "zipapp.ZipAppError",
        **v.UNSENT,
    ),
    v.says("Configuration", "zoneinfo._common.ZoneInfoNotFoundError", **v.UNSENT),
    v.says("Internal", "optparse.OptionError", **v.BUG),
    v.says("Internal", "re.error re.PatternError", **v.BUG),
    v.says(
        "DataValidation",
        "ipaddress.AddressValueError ipaddress.NetmaskValueError graphlib.CycleError "
        "calendar.IllegalMonthError calendar.IllegalWeekdayError mailbox.NoSuchMailboxError",
    ),
    v.says("Concurrency", "mailbox.ExternalClashError"),
    v.says("Processing", "mailbox.Error", **v.MEDIUM),
)

_NETWORK: Final = (
    v.says(
        "DependencyService",
        "http.client.HTTPException",
        judge=judges.by_cause,
        **v.FINAL,
        **v.GUESS,
    ),
    # The server closed a connection that was kept alive, often before it read the request.
    v.says("Transport", "http.client.RemoteDisconnected", judge=judges.by_errno, **v.CERTAIN),
    v.says("Transport", "http.client.IncompleteRead", **v.CERTAIN, reached_server="yes"),
    v.says("Transport", "http.client.BadStatusLine", **v.LIKELY, origin="target"),
    v.says(
        "DependencyService",
        "http.client.LineTooLong http.client.UnknownTransferEncoding",
        **{**v.FINAL, **v.LIKELY},
    ),
    v.says("VersionMismatch", "http.client.UnknownProtocol", **v.TARGET),
    # A connection used out of turn, by two threads or before the last answer was read.
    v.says(
        "Internal",
        "http.client.ImproperConnectionState http.client.UnimplementedFileMode",
        **v.BUG,
        **v.UNSENT,
    ),
    v.says("Transport", "http.client.NotConnected", **v.UNSENT),
    v.says("DataValidation", "http.client.InvalidURL", **v.UNSENT),
    v.says(
        "Configuration", "urllib.error.URLError", judge=judges.by_url_reason, **v.UNSENT, **v.GUESS
    ),
    v.says("DependencyService", "urllib.error.HTTPError", judge=judges.by_http_error, **v.GUESS),
    v.says("Transport", "urllib.error.ContentTooShortError", **v.CERTAIN, reached_server="yes"),
    v.says("DependencyService", "xmlrpc.client.Error", **v.FINAL, **v.GUESS),
    v.says("DependencyService", "xmlrpc.client.ProtocolError", judge=judges.by_http_error),
    v.says("Serialization", "xmlrpc.client.ResponseError", origin="target", reached_server="yes"),
    v.says("DependencyService", "smtplib.SMTPException", judge=judges.by_cause, **v.GUESS),
    v.says("Transport", "smtplib.SMTPServerDisconnected", **v.CERTAIN),
    v.says("VersionMismatch", "smtplib.SMTPNotSupportedError", **v.TARGET),
    v.says("DependencyService", "smtplib.SMTPResponseException", judge=judges.by_smtp_code),
    v.says(
        "DependencyService",
        "smtplib.SMTPConnectError",
        judge=judges.by_smtp_code,
        reached_server="no",
    ),
    v.says(
        "Permission",
        "smtplib.SMTPAuthenticationError",
        judge=judges.by_smtp_code,
        reached_server="yes",
        counts_as="success",
    ),
    v.says("DataValidation", "smtplib.SMTPRecipientsRefused", judge=judges.by_smtp_recipients),
    v.says("DependencyService", "ftplib.Error", judge=judges.by_ftp_code, **v.GUESS),
    v.says(
        "DependencyService", "ftplib.error_perm", judge=judges.by_ftp_code, **v.FINAL, **v.GUESS
    ),
    v.says("VersionMismatch", "ftplib.error_reply ftplib.error_proto", **v.TARGET, **v.GUESS),
    v.says(
        "DependencyService",
        "poplib.error_proto imaplib.IMAP4.error",
        judge=judges.by_bracket_code,
        **{**v.FINAL, **v.BY_HAND, "confidence": 0.6},
    ),
    # imaplib: the connection must be made anew.
    v.says("Transport", "imaplib.IMAP4.abort", **v.CERTAIN),
    v.says("Permission", "imaplib.IMAP4.readonly", reached_server="yes", counts_as="success"),
    v.says("DependencyService", "nntplib.NNTPError", **v.FINAL, **v.GUESS),
    v.says("DependencyService", "nntplib.NNTPTemporaryError"),
)

_STORAGE: Final = (
    v.says("DependencyService", "sqlite3.Error", judge=judges.by_sqlite_code, **v.FINAL, **v.GUESS),
    v.says(
        "DependencyService",
        "sqlite3.OperationalError sqlite3.InternalError",
        judge=judges.by_sqlite_code,
        **{**v.FINAL, **v.BY_HAND, "confidence": 0.6},
    ),
    v.says(
        "DataValidation",
        "sqlite3.IntegrityError sqlite3.DataError",
        judge=judges.by_sqlite_code,
        **{**v.TARGET, "origin": "caller", "counts_as": "success"},
    ),
    v.says(
        "Internal",
        "sqlite3.ProgrammingError sqlite3.InterfaceError sqlite3.Warning",
        judge=judges.by_sqlite_code,
        **v.BUG,
    ),
    v.says("VersionMismatch", "sqlite3.NotSupportedError", judge=judges.by_sqlite_code),
    v.says("DependencyService", "dbm.error _gdbm.error _dbm.error dbm.sqlite3.error", **v.FINAL),
)

# Raised by tools rather than by services; named so that nothing of the library is "unknown".
_TOOLS: Final = (
    v.says("Processing", "bdb.BdbQuit pdb.Restart asyncore.ExitNow turtle.Terminator", **v.STOPPED),
    v.says("Processing", "doctest.DocTestFailure doctest.UnexpectedException", **v.MEDIUM),
    v.says("Internal", "turtle.TurtleGraphicsError unittest.mock.InvalidSpecError", **v.BUG),
    v.says("Configuration", "warnings._OptionError _pyrepl.keymap.KeySpecError"),
    v.says("Configuration", "_pyrepl._minimal_curses.error"),
    v.says("Configuration", "pydoc.ErrorDuringImport importlib.resources.abc.TraversalError"),
    v.says(
        "Processing",
        "unittest.case.SkipTest unittest.case._ShouldStop unittest.case._UnexpectedSuccess",
        **v.STOPPED,
    ),
    v.says("Processing", "distutils.errors.DistutilsError distutils.errors.CCompilerError"),
)

# This library's own, so that what goes wrong with it reads like everything else.
_OURS: Final = (
    v.says("Export", "faultplane.errors.StorageError", **v.UNSENT),
    v.says("ResourceExhausted", "faultplane.errors.StorageFull", **v.FINAL, **v.UNSENT),
    v.says("Permission", "faultplane.errors.UnsafeDirectory", **v.UNSENT),
    v.says("Serialization", "faultplane.errors.CorruptFile"),
    v.says("Concurrency", "faultplane.errors.DomainBusy", **v.UNSENT),
    v.says(
        "VersionMismatch",
        "faultplane.errors.LayoutMismatch faultplane.errors.NativeMismatch",
        **v.VALIDATE,
    ),
    v.says(
        "Configuration",
        "faultplane.errors.FaultplaneError faultplane.errors.DomainNotFound "
        "faultplane.errors.CoreNotFound faultplane.errors.MissingExtra "
        "faultplane.errors.WrongInterpreter "
        "faultplane.errors.InvalidName faultplane.errors.InvalidSetting",
    ),
    v.says("DataValidation", "faultplane.errors.QueryError faultplane.errors.StackNotFound"),
    # A call that was not made says nothing of what it would have called.
    v.says(
        "DependencyService",
        "faultplane.errors.Rejected faultplane.errors.BreakerOpen "
        "faultplane.errors.LimitExceeded faultplane.errors.BudgetExhausted",
        **v.LATER,
        **v.LOCAL,
    ),
    # What an operator does is told as an error is, and says nothing of the other side.
    v.says("Configuration", "faultplane.resilience.override.BreakerOverridden", **v.QUIET),
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
