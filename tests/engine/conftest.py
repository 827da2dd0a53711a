"""Demo engines on an emulated node of the test's own."""

from __future__ import annotations

import os
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any, Protocol

import aiohttp
import pytest

from hotseat.demo import EngineSpec, RunningEngine, running
from hotseat.emulator import EmulatedNode

Ask = Callable[..., Awaitable[dict[str, Any]]]


class Start(Protocol):
    async def __call__(self, spec: EngineSpec | list[str] | None = None) -> RunningEngine: ...


@pytest.fixture
def node() -> Iterator[EmulatedNode]:
    with EmulatedNode.temporary(devices=[64 << 20, 64 << 20], context_bytes=2 << 20) as node:
        yield node


@pytest.fixture
async def start(node: EmulatedNode) -> AsyncIterator[Start]:
    """Starts an engine on the node; all are stopped at the end."""
    async with AsyncExitStack() as stack:

        async def start(spec: EngineSpec | list[str] | None = None) -> RunningEngine:
            return await stack.enter_async_context(running(spec or EngineSpec(), environment=node.environment()))

        yield start


@pytest.fixture
async def http() -> AsyncIterator[aiohttp.ClientSession]:
    async with aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=60)) as session:
        yield session


@pytest.fixture
def ask(http: aiohttp.ClientSession) -> Ask:
    """One chat turn (or a whole conversation): the answer's text, how much of the prompt was cached, the raw body."""

    async def ask(engine: RunningEngine, content: str | list[dict[str, str]], **options: Any) -> dict[str, Any]:
        messages = [{"role": "user", "content": content}] if isinstance(content, str) else content
        body = {"model": "demo", "messages": messages, "max_tokens": 24, **options}
        async with http.post(f"{engine.url}/v1/chat/completions", json=body) as response:
            answer = await response.json()
            assert response.status == 200, answer
        return {
            "text": answer["choices"][0]["message"]["content"],
            "cached": answer["usage"]["prompt_tokens_details"]["cached_tokens"],
            "usage": answer["usage"],
        }

    return ask


@pytest.fixture
def corrupt(node: EmulatedNode) -> Callable[[Path, int], None]:
    """Changes one bit of a file that stands for device memory."""

    def corrupt(path: Path, offset: int) -> None:
        fd = os.open(path, os.O_RDWR)
        try:
            byte = os.pread(fd, 1, offset)[0]
            os.pwrite(fd, bytes([byte ^ 0x10]), offset)
        finally:
            os.close(fd)

    return corrupt
