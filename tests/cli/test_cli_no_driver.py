"""Where there is no GPU driver, a command that cannot find its workload still says that, and with that exit code."""

from __future__ import annotations

from pathlib import Path

import pytest

from hotseat.cli.access import choose
from hotseat.errors import DriverFailed, NotFound, UsageError
from hotseat.gpu.client import GpuClient


@pytest.fixture(autouse=True)
def no_driver(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    async def use(_: GpuClient) -> None:
        raise DriverFailed("cannot load libnvidia-ml.so.1")

    monkeypatch.setattr(GpuClient, "use", use)
    monkeypatch.setenv("HOTSEAT_STATE", str(tmp_path))


@pytest.mark.parametrize("quiet", [False, True])
async def test_what_is_not_there_is_not_found_with_or_without_a_driver(quiet: bool) -> None:
    async with choose.open_access(control=None, no_daemon=True, quiet=quiet) as access:
        with pytest.raises(NotFound):
            await access.park("nobody-of-that-name", whole=False, progress=lambda *_: None)


@pytest.mark.parametrize("name", ["", "podman:", "process:"])
async def test_an_empty_name_is_a_usage_error(name: str) -> None:
    async with choose.open_access(control=None, no_daemon=True) as access:
        with pytest.raises(UsageError, match="empty"):
            await access.park(name, whole=False, progress=lambda *_: None)


async def test_who_needs_the_driver_is_told_that_it_is_not_there() -> None:
    async with choose.open_access(control=None, no_daemon=True) as access:
        with pytest.raises(DriverFailed, match="libnvidia-ml"):
            await access.rows()
