"""How many records a second one process can hand to another that reads them."""

from __future__ import annotations

import contextlib
import json
import multiprocessing
import os
import subprocess
import sys
import time
from collections.abc import Callable
from itertools import repeat
from typing import Any, Final

import faultplane as fp
from faultplane.cli.bench import failures

RECORD: Final = b"r" * 256
SECONDS_MAX: Final = 30.0
POLL_SECONDS: Final = 0.002
_SENDER: Final = (
    "import sys; from faultplane.cli.bench import handover; handover.send(int(sys.argv[1]))"
)


def send(count: int) -> None:
    """A producer: tells that it is ready, waits for a line, records, prints what it took."""
    fp.init(service="producer", domain="handover")
    error = failures.caught(failures.pay)
    record = fp.record
    record(error)
    print("ready", flush=True)
    sys.stdin.readline()
    times = repeat(None, count)
    start, before = time.perf_counter(), os.times()
    for _ in times:
        record(error)
    spent, after = time.perf_counter() - start, os.times()
    answer = {
        "per_second": count / spent,
        "user_nano": (after.user - before.user) / count * 1e9,
        "system_nano": (after.system - before.system) / count * 1e9,
    }
    print(json.dumps(answer), flush=True)


def ours(producers: int, count: int, sleeping: bool = False) -> dict[str, Any]:
    """Records per second from Python loops to a reader that holds them as Arrow batches.

    A ``sleeping`` reader looks once, when the producers say that all is written. Raises
    AssertionError for anything lost or out of sequence.
    """
    fp.init(service="reader", domain="handover")
    senders = [
        subprocess.Popen(
            [sys.executable, "-c", _SENDER, str(count)],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
        )
        for _ in range(producers)
    ]  # fmt: skip
    pipes = [(sender.stdin, sender.stdout) for sender in senders]
    with contextlib.ExitStack() as stack:
        for sender in senders:
            stack.enter_context(sender)
        domain = stack.enter_context(fp.attach("handover"))
        for _, out in pipes:
            assert out is not None
            out.readline()
        follow = domain.follow(POLL_SECONDS, since=domain.cursor(), timeout_seconds=SECONDS_MAX)
        time.sleep(0.5)  # the next segments are prepared meanwhile
        start = time.perf_counter()
        for into, _ in pipes:
            assert into is not None
            into.write("\n")
            into.flush()
        lines = [out.readline() for _, out in pipes if out is not None] if sleeping else []
        held, got, lost = [], 0, 0
        for records in follow:
            held.append(records.batches())
            got += len(records)
            lost += records.lost
            if got + lost >= producers * count:
                break
        spent = time.perf_counter() - start
        told = [json.loads(line) for line in lines or (out.read() for _, out in pipes if out)]
    if got != producers * count or lost:
        raise AssertionError(f"{got} of {producers * count} records, {lost} lost")
    _check_sequence(held)
    return {
        "records": got,
        "per_second": got / spent,
        "producer_per_second": sum(answer["per_second"] for answer in told),
        "user_nano": min(answer["user_nano"] for answer in told),
        "system_nano": min(answer["system_nano"] for answer in told),
    }


def _check_sequence(held: list[list[Any]]) -> None:
    """Every owner's numbers must run without a hole; needs pyarrow, else it is not checked."""
    try:
        import pyarrow as pa
    except ModuleNotFoundError:
        return
    table = pa.Table.from_batches(
        [pa.record_batch(batch) for batches in held for batch in batches]
    ).select(["owner", "seq"])
    spans = table.group_by("owner").aggregate([("seq", "min"), ("seq", "max"), ("seq", "count")])
    for row in spans.to_pylist():
        if row["seq_max"] - row["seq_min"] + 1 != row["seq_count"]:
            raise AssertionError(f"records out of sequence: {row}")


def _queue(count: int) -> float:
    context = multiprocessing.get_context("fork")
    queue: Any = context.Queue()

    def produce() -> None:
        for _ in repeat(None, count):
            queue.put(RECORD)

    return _receive(context.Process(target=produce), queue.get, count)


def _pipe(count: int) -> float:
    context = multiprocessing.get_context("fork")
    reader, writer = context.Pipe(duplex=False)

    def produce() -> None:
        for _ in repeat(None, count):
            writer.send_bytes(RECORD)

    return _receive(context.Process(target=produce), reader.recv_bytes, count)


def _receive(process: Any, receive: Callable[[], Any], count: int) -> float:
    process.start()
    receive()
    start = time.perf_counter()
    for _ in repeat(None, count - 1):
        receive()
    rate = (count - 1) / (time.perf_counter() - start)
    process.join(SECONDS_MAX)
    return rate


def _zmq(count: int) -> float:
    import zmq

    address = f"ipc://@faultplane-bench-{os.getpid()}"
    waited_milli = int(SECONDS_MAX * 1e3)
    code = (
        "import sys, zmq; from itertools import repeat; c = zmq.Context(); s = c.socket(zmq.PUSH)\n"
        "s.setsockopt(zmq.SNDHWM, 100000); s.setsockopt(zmq.SNDTIMEO, int(sys.argv[3]))\n"
        "s.connect(sys.argv[1]); r = b'r' * 256\n"
        "for _ in repeat(None, int(sys.argv[2])): s.send(r, copy=True)\n"
        "s.close(); c.term()\n"  # what is not sent yet would be dropped at the interpreter's exit
    )
    with zmq.Context() as context, context.socket(zmq.PULL) as socket:
        socket.setsockopt(zmq.RCVHWM, 100_000)
        socket.setsockopt(zmq.RCVTIMEO, waited_milli)
        socket.bind(address)
        with subprocess.Popen([sys.executable, "-c", code, address, str(count), str(waited_milli)]):
            socket.recv()
            start = time.perf_counter()
            for _ in repeat(None, count - 1):
                socket.recv()
            return (count - 1) / (time.perf_counter() - start)


PEERS: Final[dict[str, tuple[int, Callable[[int], float]]]] = {
    "multiprocessing.Queue": (30, _queue),
    "multiprocessing.Pipe": (15, _pipe),
    "pyzmq PUSH": (3, _zmq),
}
"""Name → (how many times as many ours is to hand over, function)."""


def peer(name: str, count: int) -> dict[str, Any]:
    """Records of 256 bytes per second of one peer; ``missing`` when it is not installed."""
    goal, hand_over = PEERS[name]
    try:
        return {"peer": name, "goal": goal, "per_second": hand_over(count)}
    except ModuleNotFoundError as error:
        return {"peer": name, "goal": goal, "missing": str(error)}
