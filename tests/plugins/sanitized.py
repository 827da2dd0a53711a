"""`-p sanitized`: programs of tests load the compiled parts that `make sanitize` has
built, and the sanitizers' library before them. A finding ends the program, and so fails its test."""

from __future__ import annotations

import asyncio
import os
from pathlib import Path
from typing import Any

from hotseat import native

native.DIRECTORY = Path(os.environ["HOTSEAT_SANITIZED"])
RUNTIME = os.environ["HOTSEAT_SANITIZER"]
OPTIONS = {
    # Python lets go of little when it ends; the emulated driver raises SIGSEGV where the real one does.
    "ASAN_OPTIONS": "detect_leaks=0:handle_segv=0:allow_user_segv_handler=1:verify_asan_link_order=0",
    "UBSAN_OPTIONS": "print_stacktrace=1",
}
start = asyncio.create_subprocess_exec


async def with_sanitizers(*command: Any, env: dict[str, str] | None = None, **more: Any) -> asyncio.subprocess.Process:
    env = dict(os.environ if env is None else env)
    if "HOTSEAT_EMULATOR_DIR" in env:
        before = env.get("LD_PRELOAD")
        env |= OPTIONS | {"LD_PRELOAD": f"{RUNTIME}:{before}" if before else RUNTIME}
    return await start(*command, env=env, **more)


asyncio.create_subprocess_exec = with_sanitizers  # type: ignore[assignment]
