"""Hints name commands that exist: an engine's own for its containers, the shell's for a process tree."""

from __future__ import annotations

import pytest

from hotseat.platforms import remedies


@pytest.mark.parametrize("platform", ["docker", "podman"])
def test_an_engine_is_told_by_its_own_command(platform: str):
    assert remedies.start(platform, "ada") == f"`{platform} start ada`"
    assert remedies.restart(platform, "ada") == f"`{platform} restart ada`"
    assert remedies.unpause(platform, "ada", pid=7) == f"`{platform} unpause ada`"
    assert remedies.raise_memory_limit(platform, "ada", 99) == f"`{platform} update --memory 99 ada`"


def test_there_is_no_program_called_process():
    hints = [
        remedies.start("process", "ada"),
        remedies.restart("process", "ada"),
        remedies.unpause("process", "ada"),
        remedies.unpause("process", "ada", pid=7),
        remedies.raise_memory_limit("process", "ada", 99),
    ]
    assert not any("process " + verb in hint for hint in hints for verb in ("start", "restart", "unpause", "update"))
    assert "kill -CONT 7" in hints[3]
    assert "99 bytes" in hints[4]
