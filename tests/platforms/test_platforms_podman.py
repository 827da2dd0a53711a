"""Podman as root: the contract on a real service."""

from __future__ import annotations

from typing import Any

import pytest
from platforms_contract import EnterContract, LimitContract
from platforms_engine_stage import EngineStage

from hotseat.platforms.podman import PodmanPlatform
from hotseat.testing.engines import PodmanServer

pytestmark = [pytest.mark.podman, pytest.mark.root]


class TestPodman(EnterContract, LimitContract):
    @pytest.fixture
    def stage(self, podman: PodmanPlatform, podman_engine: PodmanServer) -> Any:
        return EngineStage(platform=podman, engine=podman_engine)
