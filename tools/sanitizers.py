#!/usr/bin/env python3
"""Build the compiled core under sanitizers, in copies of the tree, and run tests on it.

    python tools/sanitizers.py                        address, thread and controls
    python tools/sanitizers.py address                AddressSanitizer and UBSan under the tests
    python tools/sanitizers.py thread controls        ThreadSanitizer: threads without the GIL
    python tools/sanitizers.py thread-tests           ThreadSanitizer under tests with threads
    python tools/sanitizers.py address -- tests/unit  other tests than those that are chosen here

Whatever a sanitizer reports, in any process that a test starts, is a failure, and so is a control
without a report: one order of one word made wrong in a copy of the core, which must be found. Needs
gcc with its sanitizers, and the environment that `make test` makes. The interpreter itself is not
built with sanitizers: what it does to its own memory is not looked at, and locks that it takes are.
"""

from __future__ import annotations

import argparse
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
CORE = Path("src") / "faultplane" / "_core"
SANITIZED = Path("tests") / "sanitized"
THREAD_MODULES = ("aggregate", "fingerprint", "intern", "memory", "message", "ring", "segment")
ROWS = 20_000
SECONDS_MAX = 900

# Signals are the tests' affair: a handler of the sanitizer would stand before that of the core.
SIGNALS = "handle_segv=0:handle_sigbus=0:handle_sigfpe=0:handle_sigill=0:handle_abort=0"
ADDRESS = f"detect_leaks=0:allocator_may_return_null=1:{SIGNALS}"
UNDEFINED = "halt_on_error=1:print_stacktrace=1"
# gcc warns of fences, which the runtime does not follow: those of in-flight slots and of what is
# loaded again after them, which the threads here do not call.
THREAD_FLAGS = "-fsanitize=thread -Wno-tsan"
# Children of a process with threads are followed too; signal handlers of Python only set a flag.
THREAD = f"exitcode=66:die_after_fork=0:report_signal_unsafe=0:{SIGNALS}"

ADDRESS_TESTS = (
    "tests/conformance",
    "tests/fault/test_closed_descriptors.py",
    "tests/fault/test_crash.py",
    "tests/fault/test_fatal_signals.py",
    "tests/fault/test_fork.py",
    "tests/fault/test_threads.py",
    "tests/unit/test_breath.py",
    "tests/unit/test_redact.py",
    "tests/unit/test_template.py",
    "tests/unit/capture",
    "tests/unit/store/test_lifecycle.py",
)
# Greenlets copy parts of stacks, guards between variables included, which is reported.
NO_COPIED_STACKS = "not greenlet and not gevent"
THREAD_TESTS = (
    "tests/conformance/test_lanes.py",
    "tests/conformance/test_processes.py",
    "tests/fault/test_threads.py",
)

CONTROLS: dict[str, tuple[Path, str, str]] = {
    # What is made wrong in the copy: file, text, what stands there instead.
    "commit without release": (
        CORE / "atomics.h",
        "value, 0, __ATOMIC_RELEASE,\n",
        "value, 0, __ATOMIC_RELAXED,\n",
    ),
    "name published by a plain store": (
        CORE / "intern.pyx",
        "fp_store_release(&d.entries[id].word, <uint64_t>n << 32 | (offset + 1))",
        "d.entries[id].word = <uint64_t>n << 32 | (offset + 1)",
    ),
    "lane word read without acquire": (
        SANITIZED / "threads.pyx",
        "fp_load_acquire(lane_word(base, lane))",
        "fp_load_relaxed(lane_word(base, lane))",
    ),
    "cell published by a plain store": (
        CORE / "aggregate.pyx",
        "    fp_store_release(&(<aggregate_t*>a.base).used, a.used)\n",
        "    (<aggregate_t*>a.base).used = a.used\n",
    ),
}

CONTROL_RUNS_MAX = 6
"""A name is published once in a run, and read at that moment by chance: some runs miss it."""


def say(text: str) -> None:
    """A line of progress, on standard error."""
    print(text, file=sys.stderr, flush=True)


def library(name: str) -> str:
    """Path of one of gcc's runtimes; SystemExit when it is not there."""
    asked = subprocess.run(
        ["gcc", f"-print-file-name={name}"], capture_output=True, text=True, check=True
    )
    path = asked.stdout.strip()
    if not os.path.isabs(path):
        raise SystemExit(f"gcc has no {name}: install its sanitizers (Debian: gcc brings them)")
    return os.path.realpath(path)


class Copy:
    """A copy of the tree with its own core, and a directory for what sanitizers report."""

    def __init__(self, place: Path, flags: str) -> None:
        self.place = place
        self.reports = place / "reports"
        self.flags = flags
        self.reports.mkdir(parents=True)
        for name in ("src", "tests", "benchmarks", "tools", "native", "docs"):
            if (ROOT / name).is_dir():
                shutil.copytree(
                    ROOT / name, place / name, ignore=shutil.ignore_patterns("target", "*.so")
                )
        for path in ROOT.iterdir():
            if path.is_file():
                shutil.copy2(path, place)

    def thread_options(self) -> str:
        """What ThreadSanitizer shall do here."""
        return f"{THREAD}:log_path={self.reports}/thread"

    def build(self, **variables: str) -> None:
        """Compile the core in place; SystemExit with the compiler's words when that fails."""
        environment = {
            **os.environ,
            "CFLAGS": f"{self.flags} -O1 -fno-omit-frame-pointer",
            "LDFLAGS": self.flags,
            "FAULTPLANE_DEBUG": "1",
            "FAULTPLANE_REQUIRE_CORE": "1",
            **variables,
        }
        words = [sys.executable, "setup.py", "-q", "build_ext", "--inplace"]
        done = subprocess.run(
            words, cwd=self.place, env=environment, text=True, capture_output=True, check=False
        )
        if done.returncode != 0:
            raise SystemExit(f"{done.stdout}{done.stderr}\nthe core could not be built")

    def run(self, *words: object, preload: str, **variables: str) -> tuple[int, str, list[str]]:
        """(Exit code, output, reports) of Python with ``words``, the runtimes loaded before it."""
        before = {k: v for k, v in os.environ.items() if not k.startswith("FAULTPLANE_")}
        searched = (self.place / "src", self.place / "tests" / "conformance")
        variables["PYTHONPATH"] = os.pathsep.join(map(str, searched))
        variables["LD_PRELOAD"] = preload
        command = ["env", *(f"{name}={value}" for name, value in variables.items())]
        if "tsan" in preload and shutil.which("setarch"):
            # Older runtimes do not start under the address space layout of newer kernels.
            command = ["setarch", "-R", *command]
        done = subprocess.run(
            [*command, sys.executable, *map(str, words)],
            cwd=self.place,
            env=before,
            text=True,
            errors="replace",
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            timeout=SECONDS_MAX,
            check=False,
        )
        found = [path.read_text(errors="replace") for path in sorted(self.reports.iterdir())]
        for path in self.reports.iterdir():
            path.unlink()
        return done.returncode, done.stdout, found


@contextmanager
def copied(flags: str) -> Iterator[Copy]:
    """A copy for one build, removed afterwards."""
    place = Path(tempfile.mkdtemp(prefix="faultplane-sanitized-"))
    try:
        yield Copy(place / "tree", flags)
    finally:
        shutil.rmtree(place, ignore_errors=True)


def outcome(name: str, code: int, output: str, reports: list[str]) -> bool:
    """Say how a run ended; whether nothing was reported and nothing failed."""
    for report in reports[:5]:
        print(report[:8_000])
    if code != 0:
        print(output[-8_000:])
    last = output.strip().rpartition("\n")[2]
    print(f"{name}: {last}; {len(reports)} reports, exit code {code}", flush=True)
    return code == 0 and not reports


# ----------------------------------------------------------------------------------------- runs


def address(tests: list[str]) -> bool:
    """The tests on a core with AddressSanitizer and UndefinedBehaviorSanitizer."""
    flags = "-fsanitize=address,undefined -fno-sanitize-recover=undefined"
    with copied(flags) as copy:
        copy.build()
        where = copy.reports
        found = copy.run(
            "-m", "pytest", "-q", "--core=cython", "-p", "no:cacheprovider", "-n", "2",
            *(tests or (*ADDRESS_TESTS, "-k", NO_COPIED_STACKS)),
            preload=library("libasan.so"),
            PYTHONMALLOC="malloc",
            ASAN_OPTIONS=f"{ADDRESS}:log_path={where}/address",
            UBSAN_OPTIONS=f"{UNDEFINED}:log_path={where}/undefined",
            FAULTPLANE_REQUIRE_CORE="1",
            FORKS="40",
        )  # fmt: skip
        return outcome("address and undefined", *found)


def thread_tests(tests: list[str]) -> bool:
    """Tests with threads and processes on a core with ThreadSanitizer, under the GIL."""
    with copied(THREAD_FLAGS) as copy:
        copy.build()
        found = copy.run(
            "-m", "pytest", "-q", "--core=cython", "-p", "no:cacheprovider", "-n", "2",
            *(tests or THREAD_TESTS),
            preload=library("libtsan.so"),
            TSAN_OPTIONS=copy.thread_options(),
            FAULTPLANE_REQUIRE_CORE="1",
        )  # fmt: skip
        return outcome("thread, under the GIL", *found)


def prepare_threads(copy: Copy) -> str:
    """Leave of the core what needs no interpreter, add the threads; what to load before Python."""
    core, ours = copy.place / CORE, copy.place / SANITIZED
    for path in core.glob("*.pyx"):
        if path.stem not in THREAD_MODULES:
            path.unlink()
    (core / "__init__.py").write_text('"""A part of the core, for threads without the GIL."""\n')
    shutil.copy2(ours / "threads.pyx", core)
    mapping = copy.place / "one_mapping.so"
    subprocess.run(
        ["gcc", "-shared", "-fPIC", "-O1", "-o", mapping, ours / "one_mapping.c"], check=True
    )
    copy.flags += f" -include {ours / 'one_mapping.h'}"
    return f"{library('libtsan.so')}:{mapping}"


def run_threads(copy: Copy, preload: str, rows: int) -> tuple[int, str, list[str]]:
    """The threads once, on a domain of their own."""
    domain = copy.place / "domain"
    domain.mkdir()
    try:
        return copy.run(
            copy.place / SANITIZED / "threads_driver.py",
            domain,
            rows,
            preload=preload,
            TSAN_OPTIONS=copy.thread_options(),
            FAULTPLANE_CORE="python",
        )
    finally:
        shutil.rmtree(domain)


def thread(rows: list[str]) -> bool:
    """Writers, a closer, readers: threads that hold no GIL, on a core with ThreadSanitizer."""
    with copied(THREAD_FLAGS) as copy:
        preload = prepare_threads(copy)
        copy.build()
        return outcome("thread", *run_threads(copy, preload, int(rows[0]) if rows else ROWS))


def controls(_unused: list[str]) -> bool:
    """The same threads on cores with one order made wrong: each must be reported."""
    good = True
    with copied(THREAD_FLAGS) as copy:
        preload = prepare_threads(copy)
        for name, (path, right, wrong) in CONTROLS.items():
            target = copy.place / (CORE / path.name if path.parent == SANITIZED else path)
            text = target.read_text()
            if text.count(right) != 1:
                raise SystemExit(f"control {name!r}: {path} has {text.count(right)} of {right!r}")
            target.write_text(text.replace(right, wrong))
            copy.build()
            for _run in range(CONTROL_RUNS_MAX):
                code, _, reports = run_threads(copy, preload, ROWS // 4)
                races = sum(report.count("data race") for report in reports)
                print(f"control, {name}: {races} races reported, exit code {code}", flush=True)
                if races:
                    break
            good = good and races > 0
            target.write_text(text)
    return good


RUNS: dict[str, Callable[[list[str]], bool]] = {
    "address": address,
    "thread": thread,
    "controls": controls,
    "thread-tests": thread_tests,
}

DEFAULT = ("address", "thread", "controls")


def main(arguments: list[str] | None = None) -> int:
    """Command line entry; returns the exit code."""
    words, _, given = _split(sys.argv[1:] if arguments is None else arguments)
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("runs", nargs="*", metavar="RUN", help=f"of {', '.join(RUNS)}")
    options = parser.parse_args(words)
    if unknown := set(options.runs) - RUNS.keys():
        parser.error(f"RUN must be one of {', '.join(RUNS)}, got {', '.join(sorted(unknown))}")
    good = True
    for name in options.runs or DEFAULT:
        start = time.monotonic()
        good = RUNS[name](given) and good
        say(f"{name}: {time.monotonic() - start:.0f} s")
    return 0 if good else 1


def _split(words: list[str]) -> tuple[list[str], str, list[str]]:
    """What stands before ``--`` and what behind it."""
    if "--" not in words:
        return words, "", []
    at = words.index("--")
    return words[:at], "--", words[at + 1 :]


if __name__ == "__main__":
    sys.exit(main())
