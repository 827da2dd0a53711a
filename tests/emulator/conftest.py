"""An emulated node of one's own, and processes on it (the conformance suite's actors, started by exec)."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from hotseat import native
from hotseat.emulator import EmulatedNode

sys.path.insert(0, str(Path(__file__).parent.parent / "conformance"))
import conformance_actors as actors
import conformance_driver as driver

MIB = 1 << 20


@pytest.fixture
def node() -> Iterator[EmulatedNode]:
    """Two devices of 256 MiB; a context costs 16 MiB."""
    with EmulatedNode.temporary(devices=[256 * MIB, 256 * MIB]) as made:
        yield made


@pytest.fixture
def start(node: EmulatedNode) -> Iterator[Callable[..., Any]]:
    """start("Target") or start("Controller", env={...}, prefix=[...]): an actor, killed when the test ends."""
    started: list[Any] = []

    def spawn(name: str, env: dict[str, str] | None = None, prefix: tuple[str, ...] = ()) -> Any:
        driver.LIBRARY, driver.NVML = str(native.path("libcuda.so.1")), str(native.path("libnvidia-ml.so.1"))
        actor = actors.Spawned(name, env=os.environ | node.environment() | (env or {}), prefix=prefix)
        started.append(actor)
        return actor

    yield spawn
    for actor in started:
        actor.kill()


@pytest.fixture
def target(start: Callable[..., Any]) -> Any:
    """A process with a context on device 0, ready."""
    actor = start("Target")
    assert actor.hello() == 0
    return actor


@pytest.fixture
def control(start: Callable[..., Any]) -> Any:
    return start("Controller")
