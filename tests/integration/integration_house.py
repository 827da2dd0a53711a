"""A house for one test: an emulated node of its own, hotseat's real parts as wiring makes them, demo engines."""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import json
import os
import signal
import sys
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from hotseat.daemon.wiring import Runtime, build
from hotseat.demo import EngineSpec, image, running
from hotseat.demo.spec import hold_command
from hotseat.emulator import EmulatedNode, Fault, FaultKind
from hotseat.platforms.port import Container, Status
from hotseat.platforms.spec import Bind, ContainerSpec
from hotseat.swap.policy import Policy
from hotseat.swap.port import Deadlines, Observation, Workload
from hotseat.testing.engines import DockerDaemon, PodmanServer
from hotseat.testing.served import free_port
from hotseat.words import State, SwapReport

MIB = 1 << 20
CONTEXT = 2 * MIB
IMAGE = "hotseat-integration:latest"
LIMITS = {"nofile": 4096, "nproc": 4096}
PROMPT = "a long road through the hills and a river beside it " * 12
SOON = 30.0
"""Seconds until something that must happen has happened on a busy machine."""

PLATFORMS = (
    pytest.param("process", marks=pytest.mark.root, id="process"),
    pytest.param("docker", marks=(pytest.mark.root, pytest.mark.docker), id="docker"),
    pytest.param("podman", marks=(pytest.mark.root, pytest.mark.podman), id="podman"),
)
everywhere = pytest.mark.parametrize("kind", PLATFORMS)
in_containers = pytest.mark.parametrize("kind", PLATFORMS[1:])

_numbers = itertools.count()


async def until(holds: Callable[[], object], *, seconds: float = SOON) -> None:
    """Wait for what must come true."""
    async with asyncio.timeout(seconds):
        while not holds():  # noqa: ASYNC110 - other processes set no event here
            await asyncio.sleep(0.01)


@dataclass(kw_only=True)
class Answer:
    text: str
    prompt: int
    cached: int

    @property
    def warm(self) -> bool:
        """The prefix cache had every whole block of the prompt but that of its last token."""
        return self.cached == (self.prompt - 1) // 16 * 16 > 0


@dataclass(kw_only=True)
class Guest:
    """One workload: a demo engine as a process tree or in a container."""

    house: House
    spec: EngineSpec
    container: Container

    @property
    def name(self) -> str:
        return self.container.name

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.spec.port}"

    @property
    def platform(self) -> Any:
        return self.house.platform

    async def workload(self) -> Workload:
        container = await self.platform.inspect(self.container.id)
        return Workload(name=container.name, container=container, platform=self.platform)

    async def status(self) -> Status:
        """As its platform lists it."""
        return next(one.status for one in await self.platform.list() if one.id == self.container.id)

    async def seen(self) -> Observation:
        return await self.house.swapper.observe(await self.workload())

    async def state(self) -> State:
        return (await self.seen()).state

    async def park(self, **options: Any) -> SwapReport:
        return await self.house.swapper.swap_out(await self.workload(), **options)

    async def seat(self, **options: Any) -> SwapReport:
        return await self.house.swapper.swap_in(await self.workload(), **options)

    async def recover(self) -> Observation:
        return await self.house.swapper.recover(await self.workload())

    async def ask(self, prompt: str = PROMPT, *, tokens: int = 24) -> Answer:
        body = {"model": self.spec.models[0], "prompt": prompt, "max_tokens": tokens}
        async with self.house.http.post(f"{self.url}/v1/completions", json=body) as response:
            answer = await response.json()
            assert response.status == 200, answer
        usage = answer["usage"]
        return Answer(
            text=answer["choices"][0]["text"],
            prompt=usage["prompt_tokens"],
            cached=usage["prompt_tokens_details"]["cached_tokens"],
        )

    @contextlib.asynccontextmanager
    async def stream(self, prompt: str = PROMPT, *, tokens: int) -> AsyncIterator[AsyncIterator[str]]:
        """The texts of a streamed answer, one by one."""
        body = {"model": self.spec.models[0], "prompt": prompt, "max_tokens": tokens, "stream": True}
        async with self.house.http.post(f"{self.url}/v1/completions", json=body) as response:
            assert response.status == 200

            async def texts() -> AsyncIterator[str]:
                async for line in response.content:
                    if line.startswith(b"data: {"):
                        yield json.loads(line[6:])["choices"][0]["text"]

            yield texts()

    async def answers(self) -> None:
        """Wait until it does."""
        async with asyncio.timeout(SOON):
            while True:
                with contextlib.suppress(aiohttp.ClientConnectionError):
                    async with self.house.http.get(f"{self.url}/health") as response:
                        if response.status == 200:
                            return
                assert await self.status() is not Status.EXITED, await self.platform.logs(self.container)
                await asyncio.sleep(0.02)

    async def ends(self) -> None:
        """Wait until it does."""
        async with asyncio.timeout(SOON):
            while await self.status() is not Status.EXITED:  # noqa: ASYNC110 - also where a platform has no such event
                await asyncio.sleep(0.02)

    def pids(self) -> list[int]:
        return [process.pid for process in self.platform.read_pids(self.container)]

    async def cuda_pids(self) -> list[int]:
        return sorted(process.pid for process in (await self.seen()).cuda)

    async def bytes(self) -> dict[int, int]:
        """By device, as NVML tells."""
        mine = set(self.pids())
        out: dict[int, int] = {}
        for use in await self.house.runtime.devices.use():
            held = sum(nbytes for pid, nbytes in use.processes.items() if pid in mine)
            if held:
                out[use.device.index] = held
        return out

    async def unharmed(self, before: Answer) -> None:
        """It runs, hotseat calls it seated, and its next answer is the one that it gave before, from a warm cache."""
        assert await self.status() is Status.RUNNING
        assert await self.state() is State.SEATED
        async with asyncio.timeout(SOON):
            now = await self.ask()
        assert now.text == before.text
        assert now.warm


@dataclass(kw_only=True)
class House:
    kind: str
    """ "process", "docker" or "podman"."""
    node: EmulatedNode
    runtime: Runtime
    http: aiohttp.ClientSession
    directory: Path
    environment: Mapping[str, str]
    engine: DockerDaemon | PodmanServer | None = None
    guests: list[Guest] = field(default_factory=list)
    closers: list[Callable[[], Awaitable[None]]] = field(default_factory=list)
    """Called at the end, before the guests are removed, whatever became of the test."""

    @property
    def platform(self) -> Any:
        return self.runtime.platforms[self.kind]

    @property
    def swapper(self) -> Any:
        return self.runtime.swapper

    @property
    def used(self) -> tuple[int, ...]:
        """Bytes by device that living processes hold."""
        return self.node.report().used_bytes

    def fault(self, kind: FaultKind, **options: Any) -> int:
        return self.node.set_fault(Fault(kind=kind, **options))

    def name(self) -> str:
        """That no other test has."""
        return f"it-{os.getpid()}-{next(_numbers)}"

    def describe(self, spec: EngineSpec, **options: Any) -> ContainerSpec:
        """What the platform is to run: the engine, and how it finds the node."""
        if self.kind == "process":
            environment = {**self.node.environment(), **options.pop("env", {})}
            return ContainerSpec(name=self.name(), command=tuple(spec.command()), env=environment, **options)
        pairs = self.node.mounts(library_directory=image.library_directory())
        return ContainerSpec(
            name=self.name(),
            image=IMAGE,
            command=tuple(spec.command(image.PROGRAM)),
            binds=tuple(Bind(source=Path(source), target=target) for source, target in pairs),
            ulimits=LIMITS,
            **options,
        )

    async def launch(self, described: ContainerSpec, *, spec: EngineSpec | None = None) -> Guest:
        """Any container, removed at the end."""
        container = await self.platform.create(described)
        guest = Guest(house=self, spec=spec or EngineSpec(), container=container)
        self.guests.append(guest)
        guest.container = await self.platform.start(container)
        return guest

    async def start(self, *, seed: int = 1, weights: int = 6 * MIB, reachable: bool = True, **options: Any) -> Guest:
        """A demo engine that answers."""
        fields = {name: options.pop(name) for name in EngineSpec.__dataclass_fields__ if name in options}
        spec = EngineSpec(seed=seed, weights_bytes=weights, port=free_port(), **fields)
        guest = await self.launch(self.describe(spec, **options), spec=spec)
        if reachable:
            await guest.answers()
        return guest

    async def person(self, *arguments: str) -> str:
        """One docker or podman command, as someone behind hotseat's back gives it."""
        assert self.engine is not None
        return await asyncio.to_thread(self.engine.run, *arguments)

    @contextlib.asynccontextmanager
    async def holding(self, nbytes: int, *, device: int = 0) -> AsyncIterator[asyncio.subprocess.Process]:
        """A process outside hotseat's care that occupies device memory."""
        async with running(hold_command(nbytes, devices=(device,)), environment=self.node.environment()) as engine:
            yield engine.process

    def kill_workers(self) -> None:
        """The processes in which this hotseat makes its driver calls."""
        for pid in self.runtime.driver.worker_pids:  # type: ignore[attr-defined]
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)

    def kills_workers_in(self, phase: str) -> Callable[[str, str], None]:
        """For `progress`: a moment into this phase, once; what is tried again later is left alone."""
        begun = False

        def progress(name: str, what: str) -> None:
            nonlocal begun
            if (name, what) == (phase, "start") and not begun:
                begun = True
                asyncio.get_running_loop().call_later(0.3, self.kill_workers)

        return progress

    async def command(self, *arguments: str) -> asyncio.subprocess.Process:
        """`hotseat ARGUMENTS` as a process of its own."""
        return await asyncio.create_subprocess_exec(
            sys.executable,
            "-m",
            "hotseat",
            *arguments,
            env=dict(self.environment),
            stdin=asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.STDOUT,
        )

    async def aclose(self) -> None:
        self.node.clear_faults()
        for close in reversed(self.closers):
            await close()
        for guest in reversed(self.guests):  # who shares another's network goes first
            await self.platform.remove(guest.container)


@contextlib.asynccontextmanager
async def open_house(
    *,
    kind: str,
    node: EmulatedNode,
    directory: Path,
    engine: DockerDaemon | PodmanServer | None,
    deadlines: Deadlines | None = None,
    policy: Policy | None = None,
) -> AsyncIterator[House]:
    """DOCKER_HOST and CONTAINER_HOST lead to the test run's own engines already."""
    environment = {**os.environ, **node.environment(), "HOTSEAT_STATE": str(directory / "state")}
    environment["HOTSEAT_STORE_CONTROL"] = str(directory / "store" / "control.sock")
    timeout = aiohttp.ClientTimeout(total=60)
    async with (
        build(state=directory / "state", environ=environment, deadlines=deadlines, policy=policy) as runtime,
        aiohttp.ClientSession(timeout=timeout) as http,
    ):
        house = House(
            kind=kind,
            node=node,
            runtime=runtime,
            http=http,
            directory=directory,
            environment=environment,
            engine=engine,
        )
        try:
            yield house
        finally:
            await house.aclose()
