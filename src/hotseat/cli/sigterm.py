"""Commands that start processes: SIGTERM ends them as Ctrl-C does, with everything that they started removed."""

from __future__ import annotations

import asyncio
import signal
from collections.abc import Coroutine
from typing import Any

ENDED = 143
"""128 + SIGTERM, as a shell says it."""


def run(work: Coroutine[Any, Any, int]) -> int:
    """The exit code."""
    try:
        return asyncio.run(_until_told(work))
    except asyncio.CancelledError:
        return ENDED


async def _until_told(work: Coroutine[Any, Any, int]) -> int:
    task = asyncio.current_task()
    assert task is not None
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, task.cancel)
    return await work
