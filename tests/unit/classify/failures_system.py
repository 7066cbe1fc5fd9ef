"""What the operating system refuses: files, descriptors, processes, databases."""

from __future__ import annotations

import contextlib
import errno
import fcntl
import mmap
import os
import pickle
import resource
import shutil
import signal
import socket
import sqlite3
import stat
import subprocess
import sys
import tempfile
from pathlib import Path

from failures import NotPossible, as_nobody, failure, in_child


@contextlib.contextmanager
def scratch():
    """A directory that everybody may enter."""
    with tempfile.TemporaryDirectory() as directory:
        Path(directory).chmod(0o755)
        yield Path(directory)


@failure("file missing")
def _():
    open("/nowhere/at/all").close()


@failure("file exists")
def _():
    with scratch() as directory:
        os.mkdir(directory)


@failure("directory not empty")
def _():
    with scratch() as directory:
        Path(directory, "x").touch()
        os.rmdir(directory)


@failure("is a directory")
def _():
    with scratch() as directory:
        open(directory, "w").close()


@failure("not a directory")
def _():
    with scratch() as directory:
        Path(directory, "x").touch()
        open(directory / "x" / "y").close()


@failure("links in a circle")
def _():
    with scratch() as directory:
        Path(directory, "x").symlink_to("x")
        open(directory / "x").close()


@failure("name too long")
def _():
    open("/tmp/" + "x" * 300).close()


@failure("file access denied")
def _():
    with scratch() as directory:
        path = directory / "secret"
        path.touch(0o000)
        as_nobody(lambda: open(path).close())


@failure("operation not permitted")
def _():
    as_nobody(lambda: os.kill(1, 0))


@failure("disk full")
def _():
    if not os.path.exists("/dev/full"):
        raise NotPossible("no /dev/full")
    with open("/dev/full", "wb", buffering=0) as file:
        file.write(b"x")


@failure("file too big")
def _():
    def write():
        resource.setrlimit(resource.RLIMIT_FSIZE, (4096, 4096))
        with tempfile.TemporaryFile(buffering=0) as file:
            file.seek(4096)
            file.write(b"x")

    in_child(write)


@failure("too many open files")
def _():
    def open_many():
        resource.setrlimit(resource.RLIMIT_NOFILE, (32, 32))
        held = [socket.socket() for _ in range(64)]
        del held

    in_child(open_many)


@failure("no memory for a mapping")
def _():
    def map_much():
        resource.setrlimit(resource.RLIMIT_AS, (1 << 32, 1 << 32))
        mmap.mmap(-1, 1 << 40)

    in_child(map_much)


@failure("descriptor closed")
def _():
    readable, writable = os.pipe()
    os.close(readable)
    os.close(writable)
    os.read(readable, 1)


@failure("pipe closed by the reader")
def _():
    readable, writable = os.pipe()
    os.close(readable)
    try:
        os.write(writable, b"x")
    finally:
        os.close(writable)


@failure("nothing to read yet")
def _():
    readable, writable = os.pipe()
    os.set_blocking(readable, False)
    try:
        os.read(readable, 1)
    finally:
        os.close(readable)
        os.close(writable)


@failure("argument invalid")
def _():
    with tempfile.TemporaryFile() as file:
        os.lseek(file.fileno(), -1, os.SEEK_SET)


@failure("seek in a pipe")
def _():
    readable, writable = os.pipe()
    try:
        os.lseek(readable, 0, os.SEEK_SET)
    finally:
        os.close(readable)
        os.close(writable)


@failure("no reader of a FIFO")
def _():
    with scratch() as directory:
        os.mkfifo(directory / "fifo")
        os.open(directory / "fifo", os.O_WRONLY | os.O_NONBLOCK)


@failure("locks in a circle")
def _():
    # This process holds byte 0 and wants 1, a child holds 1 and wants 0. The kernel refuses the
    # one that asks last; if that is the child, it says so and lets go.
    with tempfile.NamedTemporaryFile() as file:
        fcntl.lockf(file, fcntl.LOCK_EX, 1, 0)
        readable, writable = os.pipe()

        def other():
            with open(file.name, "r+b") as mine:
                fcntl.lockf(mine, fcntl.LOCK_EX, 1, 1)
                os.write(writable, b"holding")
                fcntl.lockf(mine, fcntl.LOCK_EX, 1, 0)

        child = os.fork()
        if child == 0:
            try:
                other()
            except OSError as error:
                os.write(writable, pickle.dumps(error))
            os._exit(0)
        os.close(writable)
        try:
            os.read(readable, len(b"holding"))
            fcntl.lockf(file, fcntl.LOCK_EX, 1, 1)
            raise pickle.loads(os.read(readable, 65536))
        finally:
            fcntl.lockf(file, fcntl.LOCK_UN, 2, 0)
            os.waitpid(child, 0)
            os.close(readable)


@failure("no child to wait for")
def _():
    os.waitpid(1, 0)


@failure("process gone")
def _():
    child = subprocess.Popen([sys.executable, "-c", ""])
    child.wait()
    os.kill(child.pid, 0)


@failure("not an executable")
def _():
    with scratch() as directory:
        path = directory / "program"
        path.write_bytes(b"\x00 not a program")
        path.chmod(stat.S_IRWXU)
        subprocess.run([path], check=False)


@failure("program missing")
def _():
    subprocess.run(["/nowhere/at/all"], check=False)


@failure("program too slow")
def _():
    with subprocess.Popen([sys.executable, "-c", "import time; time.sleep(60)"]) as process:
        try:
            process.wait(timeout=0.01)
        finally:
            process.kill()


def _exits(code):
    subprocess.run([sys.executable, "-c", f"import os; os._exit({code})"], check=True)


for _code, _meaning in {
    1: "program failed",
    64: "program says wrong arguments",
    65: "program says wrong data",
    69: "program says service unavailable",
    73: "program says output not possible",
    74: "program says input or output failed",
    75: "program says try again",
    77: "program says no permission",
    78: "program says wrong configuration",
    124: "program timed out by timeout(1)",
}.items():
    failure(_meaning)(lambda _code=_code: _exits(_code))


@failure("program killed")
def _():
    subprocess.run(
        [sys.executable, "-c", f"import os; os.kill(os.getpid(), {signal.SIGKILL:d})"], check=True
    )


@failure("program not found by the shell")
def _():
    subprocess.run("no-such-program-at-all 2>/dev/null", shell=True, check=True)


@failure("program not executable by the shell")
def _():
    with scratch() as directory:
        path = directory / "program"
        path.touch(0o600)
        subprocess.run(f"{path} 2>/dev/null", shell=True, check=True)


@failure("arguments too long")
def _():
    subprocess.run([sys.executable, "x" * 5_000_000], check=False)


@failure("program in use")
def _():
    with scratch() as directory:
        path = directory / "sleep"
        shutil.copy("/bin/sleep", path)
        with subprocess.Popen([path, "60"]) as process:
            try:
                open(path, "r+b").close()
                raise NotPossible("this kernel lets a running program be written to")
            finally:
                process.kill()


@failure("rename to another file system")
def _():
    with scratch() as directory, tempfile.TemporaryDirectory(dir="/dev/shm") as other:
        if os.stat(directory).st_dev == os.stat(other).st_dev:
            raise NotPossible("one file system only")
        Path(directory, "x").touch()
        os.rename(directory / "x", Path(other, "x"))


@failure("extended attribute missing")
def _():
    with tempfile.NamedTemporaryFile() as file:
        try:
            os.getxattr(file.name, "user.no.such")
        except AttributeError:
            raise NotPossible("no extended attributes") from None
        except OSError as error:
            if error.errno == errno.ENOTSUP:
                raise NotPossible("no extended attributes") from None
            raise


@failure("not a terminal")
def _():
    with tempfile.TemporaryFile() as file:
        os.tcgetpgrp(file.fileno())


@failure("copy of a FIFO")
def _():
    with scratch() as directory:
        os.mkfifo(directory / "fifo")
        shutil.copyfile(directory / "fifo", directory / "copy")


@failure("terminal type unknown")
def _():
    import curses

    curses.setupterm("no-such-terminal", 1)


@failure("terminal expected")
def _():
    import termios

    with tempfile.TemporaryFile() as file:
        termios.tcgetattr(file)


# ------------------------------------------------------------------------------------ sqlite3


@failure("database locked")
def _():
    with scratch() as directory:
        path = directory / "db"
        with contextlib.closing(sqlite3.connect(path)) as one:
            one.execute("create table t (x)")
            one.execute("begin exclusive")
            with contextlib.closing(sqlite3.connect(path, timeout=0)) as two:
                two.execute("select * from t")


@failure("database constraint")
def _():
    with contextlib.closing(sqlite3.connect(":memory:")) as connection:
        connection.execute("create table t (x unique)")
        connection.execute("insert into t values (1)")
        connection.execute("insert into t values (1)")


@failure("database statement")
def _():
    with contextlib.closing(sqlite3.connect(":memory:")) as connection:
        connection.execute("select * from nowhere")


@failure("database full")
def _():
    with contextlib.closing(sqlite3.connect(":memory:")) as connection:
        connection.execute("pragma max_page_count = 2")
        connection.execute("create table t (x)")
        connection.execute("insert into t values (zeroblob(100000))")


@failure("database read-only")
def _():
    with scratch() as directory:
        path = directory / "db"
        sqlite3.connect(path).close()
        address = f"file:{path}?mode=ro"
        with contextlib.closing(sqlite3.connect(address, uri=True)) as connection:
            connection.execute("create table t (x)")


@failure("database missing")
def _():
    sqlite3.connect("/nowhere/at/all/db").execute("select 1")


@failure("database damaged")
def _():
    with scratch() as directory:
        path = directory / "db"
        path.write_bytes(b"not a database, certainly" * 100)
        with contextlib.closing(sqlite3.connect(path)) as connection:
            connection.execute("select * from t")


@failure("database interrupted")
def _():
    with contextlib.closing(sqlite3.connect(":memory:")) as connection:
        connection.set_progress_handler(lambda: 1, 1)
        connection.execute(
            "with recursive n(x) as (select 1 union all select x + 1 from n) select max(x) from n"
        )


@failure("database table locked")
def _():
    with contextlib.closing(sqlite3.connect(":memory:")) as connection:
        connection.execute("create table t (x)")
        connection.executemany("insert into t values (?)", [(1,), (2,)])
        rows = connection.execute("select * from t")
        next(rows)
        connection.execute("drop table t")


@failure("database not authorised")
def _():
    with contextlib.closing(sqlite3.connect(":memory:")) as connection:
        connection.set_authorizer(lambda *_: sqlite3.SQLITE_DENY)
        connection.execute("select 1")


@failure("database type mismatch")
def _():
    with contextlib.closing(sqlite3.connect(":memory:")) as connection:
        connection.execute("create table t (x integer primary key)")
        connection.execute("insert into t values ('text')")


@failure("database value too big")
def _():
    with contextlib.closing(sqlite3.connect(":memory:")) as connection:
        connection.execute("select zeroblob(4000000000)")


@failure("database page damaged")
def _():
    with scratch() as directory:
        path = directory / "db"
        with contextlib.closing(sqlite3.connect(path)) as connection:
            connection.execute("create table t (x)")
            connection.commit()
        with open(path, "r+b") as file:
            file.seek(100)
            file.write(b"damaged" * 500)
        with contextlib.closing(sqlite3.connect(path)) as connection:
            connection.execute("select * from t")


@failure("database closed")
def _():
    connection = sqlite3.connect(":memory:")
    connection.close()
    connection.execute("select 1")


@failure("database file format unknown")
def _():
    import dbm

    with scratch() as directory:
        path = directory / "db"
        path.write_bytes(b"nothing that dbm knows" * 10)
        dbm.open(str(path), "r").close()
