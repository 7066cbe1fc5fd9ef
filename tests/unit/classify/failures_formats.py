"""What parsers and writers of file formats raise for broken input."""

from __future__ import annotations

import io
import tempfile
from pathlib import Path

from failures import failure


@failure("json truncated")
def _():
    import json

    json.loads('{"id": 7, "items": [1, 2')


@failure("json of something strange")
def _():
    import json

    json.dumps(object())


@failure("pickle damaged")
def _():
    import pickle

    pickle.loads(b"\x80\x04not a pickle")


@failure("pickle truncated")
def _():
    import pickle

    pickle.loads(pickle.dumps(list(range(100)))[:20])


@failure("pickle refused")
def _():
    import pickle

    function = lambda: None  # noqa: E731
    function.__qualname__ = "nowhere"
    pickle.dumps(function)


@failure("bytes are not UTF-8")
def _():
    b"\xff".decode()


@failure("text is not ASCII")
def _():
    "é".encode("ascii")


@failure("struct too short")
def _():
    import struct

    struct.unpack("<Q", b"abc")


@failure("base64")
def _():
    import base64

    base64.b64decode("abc")


@failure("zlib")
def _():
    import zlib

    zlib.decompress(b"not compressed")


@failure("gzip")
def _():
    import gzip

    gzip.decompress(b"not compressed, really")


@failure("gzip truncated")
def _():
    import gzip

    gzip.decompress(gzip.compress(b"x" * 1000)[:-12])


@failure("lzma")
def _():
    import lzma

    lzma.decompress(b"not compressed")


@failure("csv")
def _():
    import csv

    old = csv.field_size_limit(4)
    try:
        list(csv.reader(["too long a field"]))
    finally:
        csv.field_size_limit(old)


@failure("ini section missing")
def _():
    import configparser

    configparser.ConfigParser().get("server", "port")


@failure("ini")
def _():
    import configparser

    configparser.ConfigParser().read_string("no section")


@failure("toml")
def _():
    import tomllib

    tomllib.loads("a = ")


@failure("xml by ElementTree")
def _():
    from xml.etree import ElementTree as ET

    ET.fromstring("<a><b></a>")


@failure("xml by expat")
def _():
    from xml.parsers import expat

    expat.ParserCreate().Parse("<a", True)


@failure("xml by SAX")
def _():
    from xml import sax

    sax.parseString(b"<a>", sax.ContentHandler())


@failure("xml DOM")
def _():
    from xml.dom import minidom

    document = minidom.parseString("<a/>")
    document.appendChild(document.createElement("second"))


@failure("mail defect")
def _():
    import email
    from email import policy

    message = email.message_from_string(
        "Content-Type: multipart/mixed\n\nbody", policy=policy.strict
    )
    message.get_payload()


@failure("cookie")
def _():
    from http import cookies

    cookies.SimpleCookie()["a b;"] = "x"


@failure("property list")
def _():
    import plistlib

    plistlib.loads(b"nothing of the kind")


@failure("wave file")
def _():
    import wave

    wave.open(io.BytesIO(b"RIFF0000nope0000")).close()


@failure("zip file")
def _():
    import zipfile

    zipfile.ZipFile(io.BytesIO(b"not a zip"))


@failure("tar file")
def _():
    import tarfile

    tarfile.open(fileobj=io.BytesIO(b"not a tar")).close()


@failure("tar member outside")
def _():
    import tarfile

    packed = io.BytesIO()
    with tarfile.open(fileobj=packed, mode="w") as archive:
        archive.addfile(tarfile.TarInfo("../outside"))
    packed.seek(0)
    with tempfile.TemporaryDirectory() as directory, tarfile.open(fileobj=packed) as archive:
        archive.extractall(directory, filter="data")


@failure("archive unknown")
def _():
    import shutil

    with tempfile.TemporaryDirectory() as directory:
        Path(directory, "x.unknown").touch()
        shutil.unpack_archive(Path(directory, "x.unknown"), directory)


@failure("copy onto itself")
def _():
    import shutil

    with tempfile.NamedTemporaryFile() as file:
        shutil.copyfile(file.name, file.name)


@failure("tree copied in part")
def _():
    import shutil

    with tempfile.TemporaryDirectory() as directory:
        Path(directory, "source").mkdir()
        Path(directory, "source", "dangling").symlink_to("nowhere")
        shutil.copytree(Path(directory, "source"), Path(directory, "target"))


@failure("tokens end early")
def _():
    import tokenize

    list(tokenize.generate_tokens(io.StringIO("(").readline))


@failure("netrc")
def _():
    import netrc

    with tempfile.NamedTemporaryFile("w") as file:
        file.write("machine h unexpected\n")
        file.flush()
        netrc.netrc(file.name)


@failure("mailbox missing")
def _():
    import mailbox

    mailbox.Maildir("/nowhere/at/all", create=False)


@failure("read of a file opened for writing")
def _():
    with tempfile.TemporaryFile("w") as file:
        file.read()


@failure("tar compression unknown")
def _():
    import tarfile

    tarfile.open(fileobj=io.BytesIO(), mode="w|no").close()


@failure("tar stream read backwards")
def _():
    import tarfile

    packed = io.BytesIO()
    with tarfile.open(fileobj=packed, mode="w") as archive:
        for name in ("one", "two"):
            member = tarfile.TarInfo(name)
            member.size = 2000
            archive.addfile(member, io.BytesIO(b"x" * 2000))
    packed.seek(0)
    with tarfile.open(fileobj=packed, mode="r|") as archive:
        first = archive.next()
        archive.next()
        archive.extractfile(first).read()


@failure("xml by SAX: feature unknown")
def _():
    from xml import sax

    sax.make_parser().setFeature("no such feature", True)


@failure("xml by SAX: feature not supported")
def _():
    from xml import sax
    from xml.sax import handler

    sax.make_parser().setFeature(handler.feature_validation, True)


@failure("xml inclusion")
def _():
    from xml.etree import ElementInclude
    from xml.etree import ElementTree as ET

    namespace = "http://www.w3.org/2001/XInclude"
    ElementInclude.include(
        ET.fromstring(f'<a xmlns:i="{namespace}"><i:include href="x" parse="odd"/></a>')
    )


@failure("program text")
def _():
    import py_compile

    with tempfile.TemporaryDirectory() as directory:
        path = Path(directory, "x.py")
        path.write_text("def (")
        py_compile.compile(str(path), doraise=True)


@failure("application archive")
def _():
    import zipapp

    zipapp.create_archive("/nowhere/at/all")


@failure("cookie file")
def _():
    from http import cookiejar

    with tempfile.NamedTemporaryFile("w") as file:
        file.write("not cookies\n")
        file.flush()
        cookiejar.MozillaCookieJar().load(file.name)


@failure("archive format taken")
def _():
    import shutil

    shutil.register_unpack_format("mine", [".zip"], print)


@failure("mail defect in a header")
def _():
    from email import message_from_string, policy

    message = message_from_string("Date: nonsense\n\n", policy=policy.default)
    raise message["date"].defects[0]
