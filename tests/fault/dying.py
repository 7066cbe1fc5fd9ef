"""A process that dies of a signal, and what its fatal slot says: read from the bytes it left."""

from __future__ import annotations

import platform
import signal
import sys
import time

from faultplane import schema

FRAMES_OFFSET = schema.BREATH_FATAL_OFFSET + schema.FATAL_HEAD_BYTES
COMPLETE = 2

PRELUDE = """
import ctypes, faulthandler, json, mmap, os, signal, sys, tempfile, threading
import faultplane as fp
from faultplane._backend import core
from faultplane.store import lifecycle

def say(**facts):
    print(json.dumps({"pid": os.getpid(), "thread": threading.get_native_id(), **facts}))
    sys.stdout.flush()

def machine_code(code):
    "Call what is not Python at all."
    memory = mmap.mmap(-1, 4096, prot=mmap.PROT_READ | mmap.PROT_WRITE | mmap.PROT_EXEC)
    memory.write(code)
    address = ctypes.addressof(ctypes.c_char.from_buffer(memory))
    ctypes.CFUNCTYPE(ctypes.c_int)(address)()

def bus_error():
    "Touch a page of a file that has been cut."
    with tempfile.TemporaryFile() as file:
        file.truncate(4096)
        memory = mmap.mmap(file.fileno(), 4096)
        file.truncate(0)
        memory[0]

def send(number):
    os.kill(os.getpid(), number)
"""
JOIN = PRELUDE + 'fp.init(service="fatal")\n'
ARMED = JOIN + "core.install_fatal_handler()\n"
DIE = """
def deep():
    {way}

def work():
    core.enter("charge")
    say()
    deep()

work()
"""

WAYS = {
    "segmentation fault": ("ctypes.string_at(0)", signal.SIGSEGV),
    "abort": ("os.abort()", signal.SIGABRT),
    "bus error": ("bus_error()", signal.SIGBUS),
    "sent SIGSEGV": ("send(signal.SIGSEGV)", signal.SIGSEGV),
    "sent SIGBUS": ("send(signal.SIGBUS)", signal.SIGBUS),
    "sent SIGFPE": ("send(signal.SIGFPE)", signal.SIGFPE),
    "sent SIGILL": ("send(signal.SIGILL)", signal.SIGILL),
    "sent SIGABRT": ("send(signal.SIGABRT)", signal.SIGABRT),
    "raised": ("signal.raise_signal(signal.SIGSEGV)", signal.SIGSEGV),
}
if platform.machine() in ("x86_64", "AMD64"):
    WAYS["illegal instruction"] = (r'machine_code(b"\x0f\x0b")', signal.SIGILL)
    WAYS["division by zero"] = (r'machine_code(b"\x31\xc9\x89\xc8\xf7\xf1")', signal.SIGFPE)
# An interpreter that keeps its printer of frames private lends it to faulthandler only.
PRINTS_FRAMES = sys.version_info < (3, 13)
FAULTHANDLER_IN_USE = (
    "faulthandler.enable()",
    "faulthandler.enable(); core.rearm_fatal_handler()",
    "faulthandler.enable(); core.install_fatal_handler(); core.install_fatal_handler()",
)


class Death:
    """A child that ended, its words, and the breath files of its domain by process."""

    def __init__(self, done, said, directory, before):
        self.status = done.returncode
        self.stderr = done.stderr
        self.said = said
        self.span = before, time.time_ns()
        self.files = {}
        for path in directory.glob("default/*/breath-*"):
            data = path.read_bytes()
            owner = int(path.name.rpartition("-")[2]) * schema.OWNER.size
            owners = (path.parent / "owners").read_bytes()
            self.files[schema.OWNER.read(owners, owner, "pid")] = data

    def fatal(self, pid=None):
        """The head of the fatal slot."""
        data = self.files[self.said[0]["pid"] if pid is None else pid]
        return schema.FATAL.read_all(data, schema.BREATH_FATAL_OFFSET)

    def frames(self, pid=None):
        """Lines of the frames area up to its length, or to a zero where there is no head."""
        data = self.files[self.said[0]["pid"] if pid is None else pid]
        area = data[FRAMES_OFFSET : schema.BREATH_BYTES]
        head = self.fatal(pid)
        text = area[: head["frames_bytes"]] if head["word"] else area.partition(b"\0")[0]
        return text.decode().splitlines()


def names(frames):
    return [line.rpartition(" in ")[2] for line in frames]
