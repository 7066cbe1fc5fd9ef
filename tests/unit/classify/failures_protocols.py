"""What the clients of HTTP, XML-RPC, mail and FTP raise, against servers that misbehave."""

from __future__ import annotations

import contextlib
import tempfile
import time
import urllib.error
import urllib.request
from email.utils import formatdate

from failures import WAIT_SECONDS_MAX, answers, failure, says, server
from failures_network import silence, tls_server, unused_port

# --------------------------------------------------------------------------------------- HTTP


def http(reply):
    import http.client

    with server(answers(reply)) as address:
        connection = http.client.HTTPConnection(*address, timeout=WAIT_SECONDS_MAX)
        try:
            connection.request("GET", "/")
            connection.getresponse().read()
        finally:
            connection.close()


@failure("http: closed without an answer")
def _():
    http(b"")


@failure("http: no status line")
def _():
    http(b"what is this\r\n\r\n")


@failure("http: body cut short")
def _():
    http(b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nonly this")


@failure("http: protocol unknown")
def _():
    http(b"HTTP/9.9 200 OK\r\n\r\n")


@failure("http: header too long")
def _():
    http(b"HTTP/1.1 200 OK\r\nX: " + b"x" * 70_000 + b"\r\n\r\n")


@failure("http: asked out of turn")
def _():
    import http.client

    with server(silence) as address:
        connection = http.client.HTTPConnection(*address, timeout=WAIT_SECONDS_MAX)
        try:
            connection.request("GET", "/")
            connection.request("GET", "/")
        finally:
            connection.close()


@failure("http: too many headers")
def _():
    http(b"HTTP/1.1 200 OK\r\n" + b"X: x\r\n" * 200 + b"\r\n")


@failure("http: not connected")
def _():
    import http.client

    connection = http.client.HTTPConnection("127.0.0.1", 9)
    connection.auto_open = 0
    connection.request("GET", "/")


@failure("http: target invalid")
def _():
    import http.client

    http.client.HTTPConnection("127.0.0.1", 9).putrequest("GET", "/a b")


def fetch(status, *headers):
    head = "".join(f"{header}\r\n" for header in headers)
    with server(answers(f"HTTP/1.1 {status} Some Reason\r\n{head}\r\n".encode())) as address:
        opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
        try:
            opener.open("http://{}:{}/".format(*address), timeout=WAIT_SECONDS_MAX).close()
        except urllib.error.HTTPError as error:
            error.close()
            raise


for _code in (304, 400, 401, 403, 404, 409, 418, 422, 429, 500, 502, 503, 504, 511, 599):
    failure(f"http status {_code}")(lambda _code=_code: fetch(_code))


@failure("http status 503, Retry-After in seconds")
def _():
    fetch(503, "Retry-After: 7")


@failure("http status 429, Retry-After as a date that is past")
def _():
    fetch(429, f"Retry-After: {formatdate(time.time() - 60, usegmt=True)}")


@failure("http status 503, Retry-After as a date far away")
def _():
    fetch(503, f"Retry-After: {formatdate(time.time() + 1e7, usegmt=True)}")


@failure("http status 503, Retry-After of nonsense")
def _():
    fetch(503, "Retry-After: soon")


def open_url(url):
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    opener.open(url, timeout=WAIT_SECONDS_MAX).close()


@failure("url: connection refused")
def _():
    open_url("http://{}:{}/".format(*unused_port()))


@failure("url: scheme unknown")
def _():
    open_url("gopherx://127.0.0.1/")


@failure("url: certificate not trusted")
def _():
    with tls_server() as address:
        open_url("https://{}:{}/".format(*address))


@failure("url: download cut short")
def _():
    reply = b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nonly this"
    with server(answers(reply)) as address, tempfile.TemporaryDirectory() as directory:
        old = urllib.request._opener
        urllib.request.install_opener(urllib.request.build_opener(urllib.request.ProxyHandler({})))
        try:
            urllib.request.urlretrieve("http://{}:{}/".format(*address), directory + "/x")
        finally:
            urllib.request.install_opener(old)


def call(reply):
    import xmlrpc.client

    with contextlib.ExitStack() as stack:
        address = stack.enter_context(server(answers(reply)))
        url = "http://{}:{}/".format(*address)
        stack.enter_context(xmlrpc.client.ServerProxy(url)).anything()


@failure("xmlrpc: status 503, Retry-After")
def _():
    call(b"HTTP/1.1 503 Busy\r\nRetry-After: 3\r\nContent-Length: 0\r\n\r\n")


@failure("xmlrpc: not a response")
def _():
    body = b"<methodResponse></methodResponse>"
    call(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%s" % (len(body), body))


@failure("xmlrpc: fault")
def _():
    import xmlrpc.client

    body = xmlrpc.client.dumps(xmlrpc.client.Fault(1, "no such method")).encode()
    head = f"HTTP/1.1 200 OK\r\nContent-Type: text/xml\r\nContent-Length: {len(body)}\r\n\r\n"
    call(head.encode() + body)


# ---------------------------------------------------------------------------------- mail, FTP


def smtp(*lines, use):
    import smtplib

    with server(says(*lines)) as address, smtplib.SMTP(timeout=WAIT_SECONDS_MAX) as client:
        client.connect(*address)
        use(client)


def send(client):
    client.sendmail("a@b.invalid", ["c@d.invalid"], "text")


@failure("smtp: service closing")
def _():
    import smtplib

    with server(says("421 too busy")) as address:
        smtplib.SMTP(*address, timeout=WAIT_SECONDS_MAX).close()


@failure("smtp: mailbox unknown")
def _():
    smtp("220 hi", "250 hi", "250 ok", "550 no such user", "250 ok", "221 bye", use=send)


@failure("smtp: mailbox busy")
def _():
    smtp("220 hi", "250 hi", "250 ok", "450 try later", "250 ok", "221 bye", use=send)


@failure("smtp: sender over quota")
def _():
    smtp("220 hi", "250 hi", "452 no room", "250 ok", "221 bye", use=send)


@failure("smtp: message refused")
def _():
    smtp(
        "220 hi", "250 hi", "250 ok", "250 ok", "354 go", "554 spam", "250 ok", "221 bye", use=send
    )


@failure("smtp: hello refused")
def _():
    smtp("220 hi", "500 what", "599 no", "221 bye", use=lambda c: c.ehlo_or_helo_if_needed())


@failure("smtp: wrong password")
def _():
    smtp(
        "220 hi", "250-hi\r\n250 AUTH PLAIN", "535 no", "221 bye",
        use=lambda client: client.login("u", "p"),
    )  # fmt: skip


@failure("smtp: server's login out of order")
def _():
    smtp("220 hi", "250-hi\r\n250 AUTH PLAIN", "454 later", "221 bye",
         use=lambda client: client.login("u", "p"))  # fmt: skip


@failure("smtp: command unknown")
def _():
    smtp("220 hi", "250 hi", "502 no", "250 ok", "221 bye", use=send)


@failure("smtp: mailbox full")
def _():
    smtp("220 hi", "250 hi", "250 ok", "552 full", "250 ok", "221 bye", use=send)


@failure("smtp: login not offered")
def _():
    smtp("220 hi", "250 hi", "221 bye", use=lambda client: client.login("u", "p"))


@failure("smtp: disconnected")
def _():
    smtp("220 hi", "250 hi", use=send)


def ftp(*lines, use=lambda client: client.login()):
    import ftplib

    with server(says(*lines)) as address, contextlib.closing(ftplib.FTP()) as client:
        client.connect(*address, timeout=WAIT_SECONDS_MAX)
        use(client)


@failure("ftp: service closing")
def _():
    ftp("421 busy")


@failure("ftp: not logged in")
def _():
    ftp("220 hi", "530 no")


@failure("ftp: file unavailable")
def _():
    ftp("220 hi", "550 none", use=lambda client: client.delete("x"))


@failure("ftp: file busy")
def _():
    ftp("220 hi", "450 busy", use=lambda client: client.delete("x"))


@failure("ftp: unexpected reply")
def _():
    ftp("220 hi", "150 what", use=lambda client: client.delete("x"))


@failure("ftp: no data connection")
def _():
    ftp("220 hi", "425 no", use=lambda client: client.delete("x"))


@failure("ftp: nonsense")
def _():
    ftp("220 hi", "what", use=lambda client: client.voidcmd("NOOP"))


def pop(*lines):
    import poplib

    with server(says(*lines)) as address:
        client = poplib.POP3(*address, timeout=WAIT_SECONDS_MAX)
        try:
            client.user("u")
            client.pass_("p")
        finally:
            client.close()


@failure("pop: wrong password")
def _():
    pop("+OK hi", "+OK", "-ERR [AUTH] no")


@failure("pop: mailbox in use")
def _():
    pop("+OK hi", "+OK", "-ERR [IN-USE] later")


@failure("pop: too soon")
def _():
    pop("+OK hi", "+OK", "-ERR [LOGIN-DELAY] later")


@failure("pop: server out of order")
def _():
    pop("+OK hi", "+OK", "-ERR [SYS/PERM] for good")


@failure("pop: refused")
def _():
    pop("+OK hi", "-ERR no")


def imap_answer(text, before=b""):
    """A conversation that answers each command with its own tag, ``before`` ahead of it."""

    def converse(connection):
        with connection.makefile("rb") as received:
            connection.sendall(b"* OK hi\r\n")
            for line in received:
                tag, command = line.split()[:2]
                if command == b"CAPABILITY":
                    connection.sendall(b"* CAPABILITY IMAP4REV1\r\n" + tag + b" OK done\r\n")
                else:
                    connection.sendall(before + tag + b" " + text + b"\r\n")

    return converse


def imap_login(text):
    import imaplib

    with server(imap_answer(text)) as address:
        client = imaplib.IMAP4(*address, timeout=WAIT_SECONDS_MAX)
        try:
            client.login("u", "p")
        finally:
            client.shutdown()


@failure("imap: wrong password")
def _():
    imap_login(b"NO [AUTHENTICATIONFAILED] no")


@failure("imap: unavailable")
def _():
    imap_login(b"NO [UNAVAILABLE] later")


@failure("imap: refused")
def _():
    imap_login(b"BAD what")


@failure("imap: over quota")
def _():
    imap_login(b"NO [OVERQUOTA] full")


@failure("imap: mailbox unknown")
def _():
    imap_login(b"NO [NONEXISTENT] none")


@failure("imap: mailbox is read-only")
def _():
    import imaplib

    read_only = b"OK [READ-ONLY] done"
    with server(imap_answer(read_only, b"* OK [READ-ONLY] look only\r\n")) as address:
        client = imaplib.IMAP4(*address, timeout=WAIT_SECONDS_MAX)
        try:
            client.login("u", "p")
            client.select()
        finally:
            client.shutdown()


@failure("imap: disconnected")
def _():
    import imaplib

    with server(says("* OK hi")) as address:
        imaplib.IMAP4(*address, timeout=WAIT_SECONDS_MAX)
