"""The keeper alone, with a worker that does what a test needs."""

from __future__ import annotations

import asyncio
import sys
from pathlib import Path

from store_bench import WITHIN

ALONE = Path(__file__).with_name("keeper_alone.py")


async def test_a_worker_in_the_middle_of_a_question_gets_its_answer_and_ends_by_itself(tmp_path: Path) -> None:
    keeper = await asyncio.create_subprocess_exec(
        sys.executable, str(ALONE), str(tmp_path), stderr=asyncio.subprocess.PIPE
    )
    worker = tmp_path / "worker"
    async with asyncio.timeout(WITHIN):
        while not (worker.exists() and worker.read_text()):  # noqa: ASYNC110 - it is a file
            await asyncio.sleep(0.01)
        keeper.terminate()
        _, said = await keeper.communicate()
    assert (keeper.returncode, said) == (0, b"")
    assert worker.read_text() == "was told that 0 blocks are kept"
