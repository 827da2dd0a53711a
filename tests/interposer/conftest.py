"""An emulated node, a holder of memory beside it, and processes that are interposed."""

from __future__ import annotations

import asyncio
import json
import sys
from collections.abc import AsyncIterator, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest

from hotseat import native
from hotseat.emulator import EmulatedNode

HERE = Path(__file__).parent


class Holder:
    def __init__(self, process: asyncio.subprocess.Process) -> None:
        self.process = process

    async def __call__(self, command: str) -> dict[str, Any]:
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        self.process.stdin.write(command.encode() + b"\n")
        async with asyncio.timeout(30):
            line = await self.process.stdout.readline()
        assert line, f"the holder ended at {command}"
        return dict(json.loads(line))

    async def through(self, *commands: str) -> list[dict[str, Any]]:
        """One after the other; none may fail."""
        answers = []
        for command in commands:
            answers.append(await self(command))
            assert "failed" not in answers[-1], (command, answers[-1])
        return answers


@pytest.fixture
def node(request: pytest.FixtureRequest) -> Iterator[EmulatedNode]:
    """`request.param`: bytes of its device."""
    with EmulatedNode.temporary(devices=[getattr(request, "param", 96 << 20)], context_bytes=2 << 20) as node:
        yield node


@pytest.fixture
def socket_path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("s") / "s"


@pytest.fixture
def interposed(node: EmulatedNode, socket_path: Path) -> dict[str, str]:
    """The environment of a process whose memory can move."""
    library = str(native.path("libhotseat-interposer.so"))
    return {**node.environment(), "LD_PRELOAD": library, "HOTSEAT_STORE": str(socket_path)}


@pytest.fixture
async def holder(node: EmulatedNode, socket_path: Path) -> AsyncIterator[Holder]:
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        str(HERE / "holder.py"),
        str(socket_path),
        env=dict(node.environment()),
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
    )
    assert process.stdout is not None
    async with asyncio.timeout(20):
        assert await process.stdout.readline() == b"listening\n"
    try:
        yield Holder(process)
    finally:
        with suppress(ProcessLookupError):
            process.kill()
        await process.wait()
