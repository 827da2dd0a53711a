"""Docker: the contract on a real daemon."""

from __future__ import annotations

from typing import Any

import pytest
from platforms_contract import EnterContract, LimitContract
from platforms_engine_stage import EngineStage

from hotseat.platforms.docker import DockerPlatform
from hotseat.testing.engines import DockerDaemon

pytestmark = [pytest.mark.docker, pytest.mark.root]


class TestDocker(EnterContract, LimitContract):
    @pytest.fixture
    def stage(self, docker: DockerPlatform, docker_engine: DockerDaemon) -> Any:
        return EngineStage(platform=docker, engine=docker_engine)
