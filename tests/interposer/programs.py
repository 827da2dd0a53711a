"""Starts `program.py` and speaks with it."""

from __future__ import annotations

import asyncio
import json
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import IO, Any

PROGRAM = Path(__file__).parent / "program.py"


class Program:
    def __init__(self, process: asyncio.subprocess.Process) -> None:
        self.process = process

    async def __call__(self, *command: Any, wait: bool = True) -> Any:
        assert self.process.stdin is not None
        self.process.stdin.write(json.dumps(command).encode() + b"\n")
        return await self.answer() if wait else None

    async def answer(self) -> Any:
        assert self.process.stdout is not None
        async with asyncio.timeout(20):
            line = await self.process.stdout.readline()
        assert line, "the program ended"
        return json.loads(line)


@asynccontextmanager
async def program(environment: dict[str, str], *, stderr: IO[bytes] | None = None) -> AsyncIterator[Program]:
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        str(PROGRAM),
        env=environment,
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
        stderr=stderr,
    )
    try:
        yield Program(process)
    finally:
        with suppress(ProcessLookupError):
            process.kill()
        await process.wait()
