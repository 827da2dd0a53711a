"""Bare process trees: the contract with a cgroup of their own and without one."""

from __future__ import annotations

import shutil
import signal
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from platforms_contract import LimitContract, PlatformContract
from platforms_waiting import DEADLINE

from hotseat.linux import own_cgroup
from hotseat.platforms.port import Container
from hotseat.platforms.process import ProcessPlatform
from hotseat.platforms.process_tree import ended, signal_each
from hotseat.platforms.spec import ContainerSpec
from hotseat.words import ProcessRef


@dataclass(kw_only=True)
class ProcessStage:
    platform: ProcessPlatform
    another: ProcessPlatform
    """A second hotseat process's view of the same registry."""

    def spec(self, name: str, script: str, **more: Any) -> ContainerSpec:
        return ContainerSpec(name=name, command=(shutil.which("busybox") or "busybox", "sh", "-c", script), **more)

    async def create(self, spec: ContainerSpec) -> Container:
        return await self.platform.create(spec)

    async def remove(self, container: Container) -> None:
        await self.platform.remove(container)

    async def person(self, verb: str, container: Container) -> None:
        if verb == "start":
            await self.another.start(container)
            return
        signals = {
            "pause": signal.SIGSTOP,
            "unpause": signal.SIGCONT,
            "kill": signal.SIGKILL,
            "stop": signal.SIGTERM,
        }
        main = self._main(container)
        signal_each([main], signals[verb])
        if verb in ("kill", "stop"):
            assert await ended(main, deadline=DEADLINE)

    def _main(self, container: Container) -> ProcessRef:
        return next(ref for ref in self.platform.read_pids(container) if ref.pid == container.pid)


@pytest.fixture
def processes(tmp_path: Path) -> Callable[[], ProcessPlatform]:
    return lambda: ProcessPlatform(directory=tmp_path / "processes")


@pytest.mark.root
class TestProcessInACgroup(LimitContract):
    @pytest.fixture
    def stage(self, processes: Callable[[], ProcessPlatform]) -> Any:
        return ProcessStage(platform=processes(), another=processes())


class TestProcessWithoutACgroup(PlatformContract):
    """As on a machine where no cgroup may be written: found by the tree, paused by SIGSTOP."""

    @pytest.fixture
    def stage(self, processes: Callable[[], ProcessPlatform], monkeypatch: pytest.MonkeyPatch) -> Any:
        monkeypatch.setattr(own_cgroup, "create", lambda name: None)
        return ProcessStage(platform=processes(), another=processes())
