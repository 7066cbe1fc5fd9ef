"""Rows that no real failure reaches here: their answers, written down a second time.

Together with the golden table of real failures, every row of every built-in table is named.
"""

from __future__ import annotations

import pytest

from faultplane.classify import judges
from faultplane.classify.errno_table import BY_ERRNO, SYMBOLS
from faultplane.classify.http_status import STATUSES
from faultplane.classify.stdlib import BUILT_IN

# kind, what it is (retryable, temporary, final), what it counts as: rules
WRITTEN = """
Transport retryable failure:
    ConnectionError ConnectionRefusedError ConnectionResetError ConnectionAbortedError
    BrokenPipeError socket.gaierror socket.herror
    ssl.SSLError ssl.SSLZeroReturnError ssl.SSLSyscallError
    ssl.SSLError[UNEXPECTED_EOF_WHILE_READING] ssl.SSLError[DECRYPTION_FAILED_OR_BAD_RECORD_MAC]
    ssl.SSLError[SSLV3_ALERT_BAD_RECORD_MAC] ssl.SSLError[APPLICATION_DATA_AFTER_CLOSE_NOTIFY]
    OSError[ECONNABORTED] OSError[ESHUTDOWN] OSError[ENETRESET] OSError[EHOSTUNREACH]
    OSError[EHOSTDOWN] OSError[ENETDOWN] OSError[ENONET] OSError[ENOLINK] OSError[EPROTO]
    OSError[ECOMM] smtp[425] smtp[426] ftp[426]
Transport final failure: socket.gaierror[EAI_FAIL]
Serialization final failure:
    binascii.Incomplete pickle.PickleError pickle._Stop compression.zstd.ZstdError
    xml.dom.expatbuilder.ParseEscape uu.Error aifc.Error sunau.Error xdrlib.Error
    email.errors.MessageError mailbox.FormatError tokenize.StopTokenizing tabnanny.NannyNag
    xml.sax._exceptions.SAXException faultplane.errors.CorruptFile
Serialization final ignored: UnicodeWarning EncodingWarning
Configuration final failure:
    encodings.CodecRegistryError FileNotFoundError NotADirectoryError IsADirectoryError
    shutil.ExecError nis.error argparse.ArgumentTypeError optparse.OptParseError
    warnings._OptionError _pyrepl.keymap.KeySpecError _pyrepl._minimal_curses.error
    pydoc.ErrorDuringImport importlib.resources.abc.TraversalError
    faultplane.errors.FaultplaneError faultplane.errors.DomainNotFound
    faultplane.errors.CoreNotFound faultplane.errors.MissingExtra faultplane.errors.InvalidName
    faultplane.errors.WrongInterpreter
    socket.gaierror[EAI_NODATA] socket.gaierror[EAI_ADDRFAMILY]
    ssl.SSLError[TLSV1_UNRECOGNIZED_NAME] ssl.SSLError[TLSV1_ALERT_NO_APPLICATION_PROTOCOL]
    ssl.SSLError[NO_START_LINE] ssl.SSLError[X509_LIB] ssl.SSLError[EE_KEY_TOO_SMALL]
    ssl.SSLError[CA_MD_TOO_WEAK] sqlite3[NOLFS]
    OSError[ENODEV] OSError[ENOTBLK] OSError[EROFS] http[508]
Configuration final ignored:
    zoneinfo._tzpath.InvalidTZPathWarning http[421] faultplane.resilience.override.BreakerOverridden
Processing final failure:
    shutil.SpecialFileError concurrent.futures.process._RemoteTraceback
    multiprocessing.pool.RemoteTraceback concurrent.interpreters.ExecutionFailed runpy._Error
    tarfile.ExtractError mailbox.Error doctest.DocTestFailure doctest.UnexpectedException
    distutils.errors.DistutilsError distutils.errors.CCompilerError
    OSError[ENOMSG] OSError[ENOTUNIQ]
Processing final ignored:
    FileExistsError bdb.BdbQuit pdb.Restart asyncore.ExitNow turtle.Terminator
    unittest.case._ShouldStop unittest.case._UnexpectedSuccess
Export retryable failure: faultplane.errors.StorageError
DependencyService temporary ignored:
    faultplane.errors.Rejected faultplane.errors.BreakerOpen faultplane.errors.LimitExceeded
    faultplane.errors.BudgetExhausted
Timeout retryable failure: OSError[ETIME] http[408]
Concurrency retryable failure:
    BlockingIOError concurrent.futures._base.Error _frozen_importlib._DeadlockError
    multiprocessing.context.ProcessError mailbox.ExternalClashError faultplane.errors.DomainBusy
    mail[INUSE] sqlite3[PROTOCOL] sqlite3[SCHEMA]
    OSError[EBUSY]
Concurrency retryable ignored:
    InterruptedError ssl.SSLWantWriteError queue.Empty OSError[EALREADY] OSError[EINTR]
    OSError[ERESTART]
Concurrency retryable success: http[423] http[425]
Concurrency temporary success: http[412]
Concurrency final ignored:
    PythonFinalizationError ChildProcessError ProcessLookupError asyncio.queues.QueueShutDown
    queue.ShutDown sqlite3[ABORT] OSError[EOWNERDEAD] OSError[ENOTRECOVERABLE] OSError[ECANCELED]
ResourceExhausted retryable failure:
    socket.gaierror[EAI_MEMORY] ftp[452] sqlite3[NOMEM] OSError[ENFILE] OSError[ENOBUFS]
    OSError[ENOLCK]
ResourceExhausted temporary failure: http[507]
ResourceExhausted final failure:
    faultplane.errors.StorageFull ftp[552] OSError[EDQUOT] OSError[EMLINK] OSError[EUSERS]
    OSError[ETOOMANYREFS]
VersionMismatch final failure:
    zipfile.LargeZipFile sqlite3.NotSupportedError faultplane.errors.LayoutMismatch
    faultplane.errors.NativeMismatch
    sqlite3[FORMAT] socket.gaierror[EAI_FAMILY] socket.gaierror[EAI_SOCKTYPE]
    ssl.SSLError[UNSUPPORTED_PROTOCOL] ssl.SSLError[UNKNOWN_PROTOCOL]
    ssl.SSLError[NO_PROTOCOLS_AVAILABLE] ssl.SSLError[VERSION_TOO_LOW]
    ssl.SSLError[NO_SHARED_CIPHER] ssl.SSLError[HTTPS_PROXY_REQUEST]
    ssl.SSLError[INAPPROPRIATE_FALLBACK] ssl.SSLError[TLSV1_ALERT_INAPPROPRIATE_FALLBACK]
    ssl.SSLError[PACKET_LENGTH_TOO_LONG] ssl.SSLError[RECORD_LAYER_FAILURE]
    ssl.SSLError[TLSV1_ALERT_INSUFFICIENT_SECURITY] ssl.SSLError[NO_CIPHERS_AVAILABLE]
VersionMismatch final ignored:
    PendingDeprecationWarning socket._GiveupOnSendfile shutil._GiveupOnFastCopy
    asyncio.exceptions.SendfileNotAvailableError OSError[ENOSYS] OSError[ELIBBAD]
    OSError[ELIBACC] OSError[ELIBSCN] OSError[ESOCKTNOSUPPORT] OSError[EPFNOSUPPORT]
    OSError[EPROTOTYPE]
VersionMismatch final success:
    smtp[500] smtp[501] smtp[503] smtp[504] smtp[555] ftp[500] ftp[501] ftp[502] ftp[503] ftp[504]
    ftp[555] http[406] http[415] http[426] http[501] http[505]
Internal final failure:
    BaseExceptionGroup ExceptionGroup OSError
    ossaudiodev.OSSAudioError _curses_panel.error concurrent.interpreters.InterpreterError
    interpreters.InterpreterError sqlite3[IOERR] OSError[EIO] OSError[EREMOTEIO] OSError[EUCLEAN]
    OSError[EMEDIUMTYPE] OSError[ENOMEDIUM]
Internal final ignored:
    inspect.ClassFoundException inspect.EndOfBlock audioop.error
    multiprocessing.resource_tracker.ReentrantCallError re.PatternError
    http.client.UnimplementedFileMode sqlite3.InterfaceError sqlite3.Warning
    turtle.TurtleGraphicsError unittest.mock.InvalidSpecError
    sqlite3[MISUSE] sqlite3[RANGE] sqlite3[INTERNAL] sqlite3[NOTFOUND]
    OSError[EFAULT] OSError[EBADFD]
Internal final success: mail[CLIENTBUG]
BusinessLogic final success: ftp[554] http[402]
DataValidation final ignored:
    smtplib.SMTPRecipientsRefused faultplane.errors.QueryError faultplane.errors.StackNotFound
    socket.gaierror[EAI_BADHINTS] socket.gaierror[EAI_OVERFLOW] socket.gaierror[EAI_PROTOCOL]
    socket.gaierror[EAI_MAX] OSError[EDOM] OSError[ERANGE] OSError[EILSEQ] OSError[EOVERFLOW]
DataValidation final success:
    sqlite3.IntegrityError sqlite3.DataError sqlite3[EMPTY] smtp[551] smtp[553] smtp[556] ftp[551]
    ftp[553] ftp[556] mail[TRYCREATE] mail[CANNOT] mail[ALREADYEXISTS]
    http[405] http[410] http[413]
Permission final failure:
    ssl.SSLError[CERTIFICATE_VERIFY_FAILED] ssl.SSLError[TLSV1_ALERT_UNKNOWN_CA]
    ssl.SSLError[SSLV3_ALERT_BAD_CERTIFICATE] ssl.SSLError[SSLV3_ALERT_CERTIFICATE_EXPIRED]
    ssl.SSLError[SSLV3_ALERT_CERTIFICATE_REVOKED] ssl.SSLError[SSLV3_ALERT_CERTIFICATE_UNKNOWN]
    ssl.SSLError[SSLV3_ALERT_UNSUPPORTED_CERTIFICATE] ssl.SSLError[TLSV1_ALERT_ACCESS_DENIED]
    ssl.SSLError[PEER_DID_NOT_RETURN_A_CERTIFICATE] ssl.SSLError[TLSV1_ALERT_DECRYPT_ERROR]
Permission final ignored:
    PermissionError faultplane.errors.UnsafeDirectory sqlite3[PERM] OSError[EKEYREJECTED]
    OSError[EKEYREVOKED] OSError[EKEYEXPIRED] OSError[ENOKEY] http[407]
Permission final success:
    smtplib.SMTPAuthenticationError smtp[430] smtp[530] smtp[532] smtp[534] smtp[538] ftp[430]
    ftp[532] ftp[534] ftp[535] ftp[538] mail[AUTHORIZATIONFAILED] mail[EXPIRED]
    mail[PRIVACYREQUIRED] mail[NOPERM] http[451]
RateLimit retryable failure: mail[LIMIT]
DependencyService retryable failure:
    urllib.error.HTTPError xmlrpc.client.ProtocolError smtplib.SMTPException
    smtplib.SMTPResponseException smtplib.SMTPConnectError ftplib.Error nntplib.NNTPTemporaryError
    ssl.SSLError[TLSV1_ALERT_INTERNAL_ERROR] smtp[451] smtp[4xx] ftp[451] ftp[454] ftp[4xx]
    mail[SYS/TEMP] OSError[ESTALE]
DependencyService final failure:
    subprocess.SubprocessError http.client.UnknownTransferEncoding ftplib.error_perm
    nntplib.NNTPError sqlite3.Error sqlite3.OperationalError sqlite3.InternalError _gdbm.error
    _dbm.error dbm.sqlite3.error ftp[5xx] mail[SERVERBUG] mail[CORRUPTION] mail[CONTACTADMIN]
    http[424]
"""


def written():
    """(Rule, kind, permanence, counts as), as written above."""
    rows = []
    said = None
    for line in WRITTEN.strip().splitlines():
        rules = line
        if not line.startswith(" "):
            head, _, rules = line.partition(":")
            said = head.split()
        rows += [(rule, *said) for rule in rules.split()]
    return rows


def built_in():
    """Every built-in answer by its rule."""
    answers = [entry.answer for entry in BUILT_IN.values()]
    answers += [*BY_ERRNO.values(), *STATUSES.values()]
    for table in (judges._RESOLVER, judges._TLS, judges._SMTP, judges._FTP, judges._BRACKETS,
                  judges._SQLITE, judges._RETURN_CODES):  # fmt: skip
        answers += table.values()
    return {answer.rule: answer for answer in answers}


def rules_of_failures(golden):
    """Rules that a real failure reaches, without what was put before those of inner ones."""
    return {row["rule"].rpartition(": ")[2] for row in golden.values()}


@pytest.mark.parametrize(("rule", "kind", "permanence", "counts_as"), written())
def test_a_row_says_what_is_written_here(rule, kind, permanence, counts_as):
    symbol = rule.removeprefix("OSError[").removesuffix("]")
    if rule not in built_in() and symbol in SYMBOLS:
        pytest.skip(f"no {symbol} on this platform, or another name for a number of the table")
    answer = built_in()[rule]
    found = "retryable" if answer.retryable else "temporary" if answer.temporary else "final"
    assert (answer.kind, found, answer.counts_as) == (kind, permanence, counts_as)


def test_every_row_is_reached_by_a_failure_or_written_here(golden):
    rules = [rule for rule, *_ in written()]
    assert len(rules) == len(set(rules))
    reached = rules_of_failures(golden)
    assert set(built_in()) - reached - set(rules) == set()


def test_no_rule_is_named_that_does_not_exist(golden):
    known = set(built_in()) | {f"OSError[{symbol}]" for symbol in SYMBOLS}
    assert {rule for rule, *_ in written()} - known == set()
