"""What asyncio, executors and multiprocessing raise."""

from __future__ import annotations

import asyncio
import multiprocessing
import signal
import threading
from concurrent import futures

from failures import failure


@failure("task cancelled")
def _():
    async def main():
        task = asyncio.create_task(asyncio.Event().wait())
        await asyncio.sleep(0)
        task.cancel()
        await task

    asyncio.run(main())


@failure("awaited too long")
def _():
    async def main():
        await asyncio.wait_for(asyncio.Event().wait(), 0.001)

    asyncio.run(main())


@failure("task group")
def _():
    async def refuse():
        raise ConnectionRefusedError(111, "refused")

    async def main():
        async with asyncio.TaskGroup() as group:
            group.create_task(refuse())
            group.create_task(asyncio.Event().wait())

    asyncio.run(main())


@failure("stream ended early")
def _():
    async def main():
        reader = asyncio.StreamReader()
        reader.feed_data(b"abc")
        reader.feed_eof()
        await reader.readexactly(10)

    asyncio.run(main())


@failure("stream over its limit")
def _():
    async def main():
        reader = asyncio.StreamReader(limit=4)
        reader.feed_data(b"x" * 100)
        await reader.readuntil(b"\n")

    asyncio.run(main())


@failure("asyncio queue full")
def _():
    async def main():
        queue = asyncio.Queue(1)
        queue.put_nowait(1)
        queue.put_nowait(2)

    asyncio.run(main())


@failure("asyncio queue empty")
def _():
    async def main():
        asyncio.Queue().get_nowait()

    asyncio.run(main())


@failure("asyncio future not done")
def _():
    async def main():
        asyncio.get_running_loop().create_future().result()

    asyncio.run(main())


@failure("asyncio barrier broken")
def _():
    async def main():
        barrier = asyncio.Barrier(2)
        await barrier.abort()
        await barrier.wait()

    asyncio.run(main())


@failure("asyncio loop in a loop")
def _():
    async def main():
        loop = asyncio.get_running_loop()
        loop.run_until_complete(loop.create_future())

    asyncio.run(main())


@failure("future cancelled")
def _():
    future = futures.Future()
    future.cancel()
    future.result()


@failure("future too slow")
def _():
    futures.Future().result(timeout=0.001)


@failure("future set twice")
def _():
    future = futures.Future()
    future.set_result(1)
    future.set_result(2)


@failure("worker process killed")
def _():
    context = multiprocessing.get_context("fork")
    with futures.ProcessPoolExecutor(1, mp_context=context) as pool:
        pool.submit(signal.raise_signal, signal.SIGKILL).result()


def _fails():
    raise RuntimeError("initializer")


@failure("worker thread would not start")
def _():
    import logging

    logging.getLogger("concurrent.futures").addHandler(logging.NullHandler())
    logging.getLogger("concurrent.futures").propagate = False
    try:
        with futures.ThreadPoolExecutor(1, initializer=_fails) as pool:
            pool.submit(int).result()
    finally:
        logging.getLogger("concurrent.futures").propagate = True


@failure("worker process raised")
def _():
    context = multiprocessing.get_context("fork")
    with futures.ProcessPoolExecutor(1, mp_context=context) as pool:
        pool.submit(int, "x").result()


@failure("result too slow")
def _():
    from multiprocessing.pool import ThreadPool

    with ThreadPool(1) as pool:
        release = threading.Event()
        result = pool.apply_async(release.wait)
        try:
            result.get(timeout=0.001)
        finally:
            release.set()


@failure("result cannot be sent")
def _():
    with multiprocessing.get_context("fork").Pool(1) as pool:
        pool.apply(_unpicklable)


def _unpicklable():
    return lambda: None


@failure("buffer too short for a message")
def _():
    left, right = multiprocessing.Pipe()
    with left, right:
        left.send_bytes(b"x" * 100)
        right.recv_bytes_into(bytearray(10))


@failure("peer with the wrong key")
def _():
    from multiprocessing.connection import Client, Listener

    with Listener(("127.0.0.1", 0), authkey=b"right") as listener:

        def serve():
            try:
                listener.accept().close()
            except multiprocessing.AuthenticationError:
                pass
            except (OSError, EOFError):
                pass

        thread = threading.Thread(target=serve, daemon=True)
        thread.start()
        try:
            Client(listener.address, authkey=b"wrong")
        finally:
            thread.join(20)


@failure("manager's object raised")
def _():
    from multiprocessing.managers import BaseManager

    class Manager(BaseManager):
        pass

    Manager.register("number", int)
    with Manager(ctx=multiprocessing.get_context("fork")) as manager:
        manager._create("unregistered")
