"""`podman system service` on a socket of our own, for hosts where nobody else runs it."""

from __future__ import annotations

import asyncio
import contextlib
import os
import shutil
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path

from hotseat.errors import PlatformFailed

START_DEADLINE = 15.0
"""Seconds until it listens."""
IDLE = 60
"""Seconds without a request after which it ends by itself: the leash for the case that we are killed."""
_KEPT_ERRORS = 2000
"""Bytes of its last words that an error message shows."""


class PodmanService:
    """Started at the first use, started again if it ended, stopped by `aclose`."""

    def __init__(self, *, command: Sequence[str], env: Mapping[str, str] = os.environ) -> None:
        self._command = tuple(command)
        self._env = dict(env)
        self._process: asyncio.subprocess.Process | None = None
        self._directory: Path | None = None
        self._starting = asyncio.Lock()

    async def socket(self) -> Path:
        """Where it listens; it does when this returns."""
        async with self._starting:
            if self._directory is None:
                self._directory = Path(tempfile.mkdtemp(prefix="hotseat-podman-", dir=self._env.get("XDG_RUNTIME_DIR")))
            path = self._directory / "podman.sock"
            if self._process is None or self._process.returncode is not None:
                await self._start(path)
            return path

    async def aclose(self) -> None:
        async with self._starting:
            process, self._process = self._process, None
            if process is not None and process.returncode is None:
                with contextlib.suppress(ProcessLookupError):
                    process.terminate()
                try:
                    async with asyncio.timeout(5.0):
                        await process.wait()
                except TimeoutError:
                    process.kill()
                    await process.wait()
            if self._directory is not None:
                shutil.rmtree(self._directory, ignore_errors=True)
                self._directory = None

    async def _start(self, path: Path) -> None:
        with contextlib.suppress(FileNotFoundError):
            os.unlink(path)
        errors = path.with_name("stderr")
        with errors.open("wb") as stderr:
            # A session of its own: Ctrl-C at our terminal must not take it from under a swap.
            self._process = await asyncio.create_subprocess_exec(
                *self._command,
                "system",
                "service",
                f"--time={IDLE}",
                f"unix://{path}",
                stdin=asyncio.subprocess.DEVNULL,
                stdout=asyncio.subprocess.DEVNULL,
                stderr=stderr,
                env=self._env,
                start_new_session=True,
            )
        try:
            async with asyncio.timeout(START_DEADLINE):
                while not await _accepts(path):
                    if self._process.returncode is not None:
                        raise PlatformFailed(
                            f"podman system service ended with {self._process.returncode}: {_tail(errors)}",
                            hint="run `podman info` to see what it lacks",
                        )
                    await asyncio.sleep(0.02)
        except TimeoutError:
            self._process.kill()
            await self._process.wait()
            raise PlatformFailed(
                f"podman system service does not listen after {START_DEADLINE:g} s: {_tail(errors)}",
                hint="run `podman info` to see what it waits for",
            ) from None


async def _accepts(path: Path) -> bool:
    try:
        _, writer = await asyncio.open_unix_connection(str(path))
    except OSError:
        return False
    writer.close()
    with contextlib.suppress(OSError):
        await writer.wait_closed()
    return True


def _tail(path: Path) -> str:
    try:
        return path.read_bytes()[-_KEPT_ERRORS:].decode(errors="replace").strip() or "it said nothing"
    except OSError:
        return "it said nothing"
