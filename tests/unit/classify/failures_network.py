"""What sockets, the resolver and TLS raise."""

from __future__ import annotations

import contextlib
import os
import shutil
import socket
import ssl
import struct
import subprocess
import sys
import tempfile
from functools import cache
from pathlib import Path

from failures import WAIT_SECONDS_MAX, NotPossible, failure, in_child, server

# ------------------------------------------------------------------------------------ sockets


def unused_port():
    with socket.create_server(("127.0.0.1", 0)) as listener:
        return listener.getsockname()


def reset(connection):
    """A conversation: read something, then reset the connection."""
    connection.recv(1)
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))


def silence(connection):
    """A conversation: never answer."""
    while connection.recv(65536):
        pass


@failure("connection refused")
def _():
    socket.create_connection(unused_port(), WAIT_SECONDS_MAX).close()


@failure("connection reset")
def _():
    with server(reset) as address, socket.create_connection(address, WAIT_SECONDS_MAX) as client:
        client.sendall(b"xx")
        client.recv(1)


@failure("write to a connection that is gone")
def _():
    left, right = socket.socketpair()
    right.close()
    with left:
        left.sendall(b"x")


@failure("answer too slow")
def _():
    with server(silence) as address, socket.create_connection(address, 0.01) as client:
        client.recv(1)


@failure("connect would block")
def _():
    with server(silence) as address, socket.socket() as client:
        client.setblocking(False)
        client.connect(address)


@failure("connect timed out in the kernel")
def _():
    user_timeout = getattr(socket, "TCP_USER_TIMEOUT", None)
    if user_timeout is None:
        raise NotPossible("no TCP_USER_TIMEOUT")
    with contextlib.ExitStack() as stack:
        listener = stack.enter_context(socket.socket())
        listener.bind(("127.0.0.1", 0))
        listener.listen(0)
        for _ in range(2):  # fill the queue of connections that nobody accepts
            filler = stack.enter_context(socket.socket())
            filler.setblocking(False)
            filler.connect_ex(listener.getsockname())
        client = stack.enter_context(socket.socket())
        client.settimeout(WAIT_SECONDS_MAX)
        client.setsockopt(socket.IPPROTO_TCP, user_timeout, 10)
        client.connect(listener.getsockname())
    raise NotPossible("the kernel accepts connections beyond the queue")


@failure("not connected")
def _():
    with socket.socket() as client:
        client.getpeername()


@failure("connected twice")
def _():
    with server(silence) as address, socket.create_connection(address) as client:
        client.connect(address)


@failure("port in use")
def _():
    with socket.create_server(("127.0.0.1", 0)) as listener:
        socket.create_server(listener.getsockname(), reuse_port=False).close()


@failure("address not ours")
def _():
    with socket.socket() as client:
        client.bind(("192.0.2.1", 0))


@failure("address family unknown")
def _():
    socket.socket(255)


@failure("socket option unknown")
def _():
    with socket.socket() as client:
        client.setsockopt(socket.IPPROTO_TCP, 9999, 1)


@failure("datagram too long")
def _():
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as client:
        client.sendto(b"x" * 70_000, ("127.0.0.1", 9))


@failure("datagram to nobody")
def _():
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as client:
        client.send(b"x")


@failure("protocol unknown")
def _():
    socket.socket(socket.AF_INET, socket.SOCK_STREAM, 255)


@failure("not a socket")
def _():
    with tempfile.TemporaryFile() as file:
        socket.socket(socket.AF_INET, socket.SOCK_STREAM, 0, fileno=file.fileno()).listen()


@failure("listen on a datagram socket")
def _():
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as client:
        client.listen()


def without_network(function):
    """Run ``function`` in a child whose network has no interface that is up."""

    def alone():
        import ctypes

        new_user, new_network = 0x1000_0000, 0x4000_0000
        flags = new_network if os.getuid() == 0 else new_network | new_user
        if ctypes.CDLL(None).unshare(flags) != 0:
            raise NotPossible("no network namespaces here")
        function()

    if not sys.platform.startswith("linux"):
        raise NotPossible("no network namespaces here")
    in_child(alone)


@failure("no route")
def _():
    without_network(lambda: socket.create_connection(("192.0.2.1", 9), WAIT_SECONDS_MAX))


# ----------------------------------------------------------------------------------- resolver


@failure("host name without address")
def _():
    try:
        socket.getaddrinfo("no-such-host.invalid", 80)
    except socket.gaierror as error:
        if error.errno == socket.EAI_AGAIN:
            raise NotPossible("no name server answers here") from None
        raise


@failure("name server out of reach")
def _():
    without_network(lambda: socket.getaddrinfo("no-such-host.invalid", 80))


@failure("host name not numeric")
def _():
    socket.getaddrinfo("example.invalid", 80, flags=socket.AI_NUMERICHOST)


@failure("service name unknown")
def _():
    socket.getaddrinfo("127.0.0.1", "no-such-service", type=socket.SOCK_STREAM)


@failure("resolver flags")
def _():
    socket.getaddrinfo("127.0.0.1", 80, flags=0x8000_0000 - 1)


@failure("host of an address without name")
def _():
    socket.gethostbyaddr("192.0.2.1")


# ---------------------------------------------------------------------------------------- TLS


CA_SETTINGS = """
[ca]
default_ca = own
[own]
database = {0}/index
serial = {0}/serial
new_certs_dir = {0}
default_md = sha256
policy = any
[any]
commonName = supplied
[leaf]
subjectAltName = {1}
"""


@cache
def certificate(name="IP:127.0.0.1", expired=False):
    """A self-signed certificate with its key, made with openssl; its file."""
    if shutil.which("openssl") is None:
        raise NotPossible("no openssl")
    kept = tempfile.TemporaryDirectory()
    _kept.append(kept)
    home = Path(kept.name)
    (home / "index").touch()
    (home / "serial").write_text("01")
    (home / "settings").write_text(CA_SETTINGS.format(home, name))
    start, end = ("20200101000000Z", "20200102000000Z") if expired else (
        "20200101000000Z", "21000101000000Z"
    )  # fmt: skip

    def openssl(*arguments):
        subprocess.run(["openssl", *arguments], cwd=home, check=True, capture_output=True)

    openssl("req", "-new", "-newkey", "rsa:2048", "-nodes", "-subj", "/CN=test", "-keyout", "key",
            "-out", "request")  # fmt: skip
    openssl("ca", "-batch", "-notext", "-selfsign", "-config", "settings", "-extensions", "leaf",
            "-keyfile", "key", "-in", "request", "-startdate", start, "-enddate", end,
            "-out", "certificate")  # fmt: skip
    both = home / "both"
    both.write_bytes((home / "key").read_bytes() + (home / "certificate").read_bytes())
    return both


_kept = []


def tls_server(configure=None, conversation=silence, **named):
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate(**named))
    if configure is not None:
        configure(context)

    def converse(connection):
        with context.wrap_socket(connection, server_side=True) as secured:
            conversation(secured)

    return server(converse)


def tls_client(address, configure=None, trusted=None):
    context = ssl.create_default_context(cafile=trusted)
    if configure is not None:
        configure(context)
    plain = socket.create_connection(address, WAIT_SECONDS_MAX)
    with plain, context.wrap_socket(plain, server_hostname="127.0.0.1") as secured:
        secured.recv(1)


@failure("certificate not trusted")
def _():
    with tls_server() as address:
        tls_client(address)


@failure("certificate expired")
def _():
    with tls_server(expired=True) as address:
        tls_client(address, trusted=certificate(expired=True))


@failure("certificate for another host")
def _():
    with tls_server(name="DNS:other.invalid") as address:
        tls_client(address, trusted=certificate("DNS:other.invalid"))


@failure("TLS spoken to a plain server")
def _():
    def plain(connection):
        connection.recv(1)
        connection.sendall(b"HTTP/1.0 400 Bad Request\r\n\r\n")
        silence(connection)

    with server(plain) as address:
        tls_client(address)


@failure("TLS versions apart")
def _():
    def old_only(context):
        context.maximum_version = ssl.TLSVersion.TLSv1_2

    def new_only(context):
        context.minimum_version = ssl.TLSVersion.TLSv1_3

    with tls_server(old_only) as address:
        tls_client(address, new_only)


@failure("TLS ended in the handshake")
def _():
    def hang_up(connection):
        connection.recv(65536)

    with server(hang_up) as address:
        tls_client(address)


@failure("TLS handshake too slow")
def _():
    with server(silence) as address:
        context = ssl.create_default_context()
        with socket.create_connection(address, 0.05) as plain:
            context.wrap_socket(plain, server_hostname="127.0.0.1").close()


@failure("TLS wants to read")
def _():
    context = ssl.create_default_context()
    secured = context.wrap_bio(ssl.MemoryBIO(), ssl.MemoryBIO(), server_hostname="127.0.0.1")
    secured.do_handshake()


@failure("TLS ciphers apart")
def _():
    def only(cipher):
        def configure(context):
            context.maximum_version = ssl.TLSVersion.TLSv1_2
            context.set_ciphers(cipher)

        return configure

    with tls_server(only("ECDHE-RSA-AES128-GCM-SHA256")) as address:
        tls_client(address, only("ECDHE-RSA-AES256-GCM-SHA384"))


@failure("TLS without the certificate that is asked for")
def _():
    def demand(context):
        context.verify_mode = ssl.CERT_REQUIRED
        context.load_verify_locations(certificate())

    with tls_server(demand) as address:
        tls_client(address, trusted=certificate())


@failure("plain HTTP spoken to a TLS server")
def _():
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate())
    incoming = ssl.MemoryBIO()
    incoming.write(b"GET / HTTP/1.1\r\n\r\n")
    context.wrap_bio(incoming, ssl.MemoryBIO(), server_side=True).do_handshake()


@failure("TLS key of another certificate")
def _():
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate(), certificate("DNS:other.invalid"))


@failure("TLS trust file without certificates")
def _():
    with tempfile.NamedTemporaryFile() as file:
        ssl.create_default_context().load_verify_locations(file.name)


@failure("TLS key file without a key")
def _():
    with tempfile.NamedTemporaryFile() as file:
        file.write(b"no key in here\n")
        file.flush()
        ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER).load_cert_chain(file.name)
