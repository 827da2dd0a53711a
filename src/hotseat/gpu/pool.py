"""Worker processes lent to one call each, so that a call that hangs costs nobody else anything.

A swap must not wait while a worker starts (2.7 s of cuInit on a node with 8 GPUs), so the pool keeps spares. Whoever
borrows a worker has it alone, and either gives it back or discards it.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable

from hotseat.errors import WorkerDied
from hotseat.gpu.worker_process import WorkerProcess

EXTRA_IDLE = 3
"""Idle workers kept above the spares after a burst; each is some 20 MB of host memory."""


class Pool:
    """`start` makes one worker or raises. At most `limit` exist at once; `spares` stand ready beside those lent out."""

    def __init__(self, *, start: Callable[[], Awaitable[WorkerProcess]], spares: int, limit: int) -> None:
        self._start = start
        self._spares = spares
        self._limit = limit
        self._idle: list[WorkerProcess] = []
        self._lent: set[WorkerProcess] = set()
        self._waiting: deque[asyncio.Future[WorkerProcess]] = deque()
        self._starting: set[asyncio.Task[None]] = set()
        self._closing: set[asyncio.Task[None]] = set()
        self._closed = False

    @property
    def workers(self) -> tuple[WorkerProcess, ...]:
        return (*self._idle, *self._lent)

    @property
    def idle(self) -> int:
        return len(self._idle)

    async def borrow(self) -> WorkerProcess:
        """An idle worker, or the next one that is started or given back. Raises what the start raised, if it failed."""
        if self._closed:
            raise WorkerDied("the GPU client was closed")
        future: asyncio.Future[WorkerProcess] = asyncio.get_running_loop().create_future()
        self._waiting.append(future)
        self._hand_out()
        self._fill()
        try:
            return await future
        except asyncio.CancelledError:
            if future in self._waiting:
                self._waiting.remove(future)
            elif not future.cancelled() and future.exception() is None:
                self.give_back(future.result())
            raise

    def give_back(self, worker: WorkerProcess) -> None:
        self._lent.discard(worker)
        if self._closed or not worker.alive or len(self._idle) >= self._spares + EXTRA_IDLE:
            self._dispose(worker)
        else:
            self._idle.append(worker)
            self._hand_out()

    def discard(self, worker: WorkerProcess) -> None:
        """Kill a worker that may hang; another takes its place."""
        worker.kill()  # at once: whoever hears of the deadline next may rely on it
        self._lent.discard(worker)
        self._dispose(worker)
        self._fill()

    async def aclose(self) -> None:
        """Kill every worker, also those lent out, and wait until they have ended (with a deadline each)."""
        self._closed = True
        starting = tuple(self._starting)
        for task in starting:
            task.cancel()
        while self._waiting:
            self._fail(WorkerDied("the GPU client was closed"))
        await asyncio.gather(*starting, return_exceptions=True)
        for worker in (*self._idle, *self._lent):
            self._dispose(worker)
        self._idle.clear()
        self._lent.clear()
        await asyncio.gather(*self._closing)

    def _hand_out(self) -> None:
        while self._waiting and self._idle:
            worker = self._idle.pop()  # the latest one used: its caches are warm
            if not worker.alive:
                self._dispose(worker)
                continue
            future = self._waiting.popleft()
            if future.done():  # its owner was cancelled
                self._idle.append(worker)
                continue
            self._lent.add(worker)
            future.set_result(worker)

    def _fill(self) -> None:
        """Start what is missing: first for those who wait, and spares only when nobody waits for a start."""
        if self._closed:
            return
        missing = len(self._waiting) or self._spares - len(self._idle)
        room = self._limit - len(self._idle) - len(self._lent)
        for _ in range(min(missing, room) - len(self._starting)):
            task = asyncio.get_running_loop().create_task(self._start_one(), name="start a GPU worker")
            self._starting.add(task)

    async def _start_one(self) -> None:
        try:
            worker = await self._start()
        except Exception as error:
            # Whoever waits hears why. If nobody does, the next borrower tries again and hears it then.
            while self._waiting:
                self._fail(error)
            return
        finally:
            task = asyncio.current_task()
            assert task is not None
            self._starting.discard(task)
        worker.on_exit = self._ended
        self._idle.append(worker)
        self._hand_out()
        self._fill()

    def _fail(self, error: BaseException) -> None:
        future = self._waiting.popleft()
        if not future.done():
            future.set_exception(error)

    def _ended(self, worker: WorkerProcess) -> None:
        """A worker ended by itself. If it was lent, its borrower notices and discards it."""
        if worker in self._idle:
            self._idle.remove(worker)
            self._dispose(worker)
            self._fill()

    def _dispose(self, worker: WorkerProcess) -> None:
        task = asyncio.get_running_loop().create_task(worker.aclose(), name=f"close GPU worker {worker.pid}")
        self._closing.add(task)
        task.add_done_callback(self._closing.discard)
