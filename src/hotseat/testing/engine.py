"""A small OpenAI-compatible engine in this process, for tests of whatever stands in front of engines.

It can be frozen like a parked workload (its connections live, no byte moves), told to break off, to refuse, or to look
unhealthy; and it writes down what it was asked.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from typing import Any

from aiohttp import web


@dataclass(slots=True, kw_only=True)
class Asked:
    """One request that reached the engine."""

    path: str
    headers: list[tuple[str, str]]
    body: bytes
    finished: bool = False
    cancelled: bool = False
    """Its client left before the answer was whole."""


@dataclass(slots=True)
class FakeEngine:
    model: str = "m"
    tokens: int = 5
    port: int = 0
    asked: list[Asked] = field(default_factory=list)
    healthy: bool = True
    health_calls: int = 0
    break_after: int | None = None
    """Close the connection after so many tokens (0: before the head)."""
    status: int = 200
    running: asyncio.Event = field(default_factory=asyncio.Event)
    """Cleared: frozen."""
    hold_after: int | None = None
    """Wait for `go` after so many tokens."""
    go: asyncio.Event = field(default_factory=asyncio.Event)
    reached_hold: asyncio.Event = field(default_factory=asyncio.Event)
    asleep: bool = False
    """Between POST /sleep and POST /wake_up, as vLLM has them: it refuses whatever it is asked."""
    hooks: list[str] = field(default_factory=list)
    """Paths of those calls, in order."""
    hook_status: dict[str, int] = field(default_factory=dict)
    """Path of such a call -> what it answers, once it has been obeyed."""
    _runner: web.AppRunner | None = None

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def freeze(self) -> None:
        self.running.clear()

    def thaw(self) -> None:
        self.running.set()

    @contextlib.asynccontextmanager
    async def serving(self) -> AsyncIterator[FakeEngine]:
        await self.start()
        try:
            yield self
        finally:
            await self.stop()

    async def start(self) -> None:
        self.thaw()
        app = web.Application(client_max_size=2**30)
        app.router.add_get("/health", self._health)
        app.router.add_post("/sleep", self._hook)
        app.router.add_post("/wake_up", self._hook)
        app.router.add_post("/{path:.*}", self._answer)
        self._runner = web.AppRunner(app, handler_cancellation=True, access_log=None, shutdown_timeout=0.1)
        await self._runner.setup()
        await web.TCPSite(self._runner, "127.0.0.1", self.port, reuse_address=True).start()
        self.port = self._runner.addresses[0][1]

    async def die(self) -> None:
        """Like the death of its process: connections break, the port refuses."""
        self.drop_connections()
        await self.stop()

    async def stop(self) -> None:
        """Answers under way end, then the port refuses."""
        if self._runner is not None:
            self.thaw()
            self.go.set()
            await self._runner.cleanup()
            self._runner = None

    def drop_connections(self) -> None:
        """All of them, as engines do with those that were idle while they were frozen."""
        assert self._runner is not None
        assert self._runner.server is not None
        for connection in list(self._runner.server.connections):
            if connection.transport is not None:
                connection.transport.abort()

    def token(self, index: int) -> bytes:
        delta = {"choices": [{"index": 0, "delta": {"content": f"t{index} "}}], "model": self.model}
        return b"data: " + json.dumps(delta).encode() + b"\n\n"

    @property
    def whole_stream(self) -> bytes:
        """Every byte of an undisturbed streamed answer."""
        return b"".join(self.token(index) for index in range(self.tokens)) + b"data: [DONE]\n\n"

    async def _health(self, request: web.Request) -> web.Response:
        self.health_calls += 1
        await self.running.wait()
        return web.Response(status=200 if self.healthy else 503)

    async def _hook(self, request: web.Request) -> web.Response:
        await self.running.wait()
        self.hooks.append(request.path_qs)
        self.asleep = request.path == "/sleep"
        return web.Response(status=self.hook_status.get(request.path, 200), text="so said the engine")

    async def _answer(self, request: web.Request) -> web.StreamResponse:
        asked = Asked(
            path=request.rel_url.raw_path_qs, headers=list(request.headers.items()), body=await request.read()
        )
        self.asked.append(asked)
        try:
            response = await self._reply(request, json.loads(asked.body))
        except (asyncio.CancelledError, ConnectionError):
            asked.cancelled = True
            raise
        asked.finished = True
        return response

    async def _reply(self, request: web.Request, body: dict[str, Any]) -> web.StreamResponse:
        await self.running.wait()
        if self.status != 200 or self.asleep:
            status = self.status if self.status != 200 else 500
            return web.json_response({"error": {"message": "the engine refuses"}}, status=status)
        if self.break_after == 0:
            await self._break_off(request)
        if not body.get("stream"):
            for index in range(self.tokens):
                await self._pace(index)
            text = "".join(f"t{index} " for index in range(self.tokens))
            return web.json_response(
                {"model": self.model, "choices": [{"index": 0, "message": {"content": text}}]},
                headers={"X-Engine": "fake"},
            )
        response = web.StreamResponse(headers={"Content-Type": "text/event-stream", "X-Engine": "fake"})
        await response.prepare(request)
        for index in range(self.tokens):
            if self.break_after == index:
                await self._break_off(request)
            await self._pace(index)
            await response.write(self.token(index))
        await response.write(b"data: [DONE]\n\n")
        await response.write_eof()
        return response

    async def _pace(self, index: int) -> None:
        if self.hold_after == index:
            self.reached_hold.set()
            await self.go.wait()
        await self.running.wait()

    async def _break_off(self, request: web.Request) -> None:
        assert request.transport is not None
        await asyncio.sleep(0)
        request.transport.abort()
        raise ConnectionResetError
