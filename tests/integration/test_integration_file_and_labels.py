"""A daemon over real containers: found by their labels, and made of the file. Docker, Podman, and a compose file."""

from __future__ import annotations

import asyncio
import contextlib
import os
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from integration_house import IMAGE, LIMITS, MIB, House, in_containers, until

from hotseat import config
from hotseat.daemon.client import Client
from hotseat.daemon.service import Serving, serve
from hotseat.daemon.stopping import Order
from hotseat.demo import EngineSpec, image
from hotseat.platforms.port import Status
from hotseat.testing import daemons
from hotseat.testing.served import free_port

pytestmark = pytest.mark.root
NEED = 30 * MIB


@pytest.fixture
def devices() -> tuple[int, ...]:
    """Two do not fit."""
    return (48 * MIB,)


class Daemon:
    def __init__(self, house: House) -> None:
        self.house = house
        self.order = Order()
        self.file = house.directory / "hotseat.yaml"
        self.serving: Serving | None = None
        self.task: asyncio.Task[list[dict[str, Any]]] | None = None

    def write(self, workloads: dict[str, Any] | None = None) -> None:
        only = {name: name == self.house.kind for name in ("docker", "podman")}
        settings = {"min_stay": 0, "linger": 0, "start_timeout": "60s", "stop_grace": "1s"}
        discovery = {**only, "labels": {"house": str(self.house.directory)}}  # the engine serves other tests too
        file = {
            "control": "c.sock",
            "state": "state",
            "gateway": {"port": 0},
            "discovery": discovery,
            "defaults": settings,
        }
        self.file.write_text(yaml.safe_dump({**file, "workloads": workloads or {}}))

    async def up(self) -> None:
        ready: asyncio.Future[Serving] = asyncio.get_running_loop().create_future()
        read = config.load(self.file)
        self.task = asyncio.create_task(
            serve(read, self.house.runtime, file=self.file, order=self.order, ready=ready.set_result)
        )
        await asyncio.wait({self.task, ready}, return_when=asyncio.FIRST_COMPLETED, timeout=60)
        if self.task.done():
            self.task.result()
        self.serving = ready.result()

    async def down(self) -> None:
        if self.task is not None and self.serving is not None:
            self.order.stop.set()
            await asyncio.wait_for(self.task, 60)

    def states(self) -> dict[str, str]:
        assert self.serving is not None
        return {row["name"]: row["state"] for row in self.serving.workloads()}

    async def ask(self, model: str) -> tuple[int, Any]:
        assert self.serving is not None
        body = {"model": model, "prompt": "a long road", "max_tokens": 8}
        async with self.house.http.post(f"{self.serving.gateway}/v1/completions", json=body) as response:
            answer = await response.json()
            return response.status, answer

    async def says(self, model: str) -> str:
        status, answer = await self.ask(model)
        assert status == 200, answer
        return str(answer["choices"][0]["text"])

    def client(self) -> Client:
        return Client(config.load(self.file).control)


@pytest.fixture
async def daemon(house: House) -> AsyncIterator[Daemon]:
    daemon = Daemon(house)
    daemon.write()
    yield daemon
    await daemon.down()


@contextlib.asynccontextmanager
async def containers(house: House, *names: str) -> AsyncIterator[None]:
    """Whoever makes them, they are gone at the end."""
    try:
        yield
    finally:
        for name in names:
            with contextlib.suppress(Exception):
                await house.platform.remove(await house.platform.inspect(name))


def engine(model: str, port: int, seed: int) -> list[str]:
    spec = EngineSpec(models=(model, f"{model}-too"), port=port, seed=seed, weights_bytes=NEED)
    return spec.command(image.PROGRAM)


def volumes(house: House) -> list[str]:
    return [f"{source}:{target}" for source, target in house.node.mounts(library_directory=image.library_directory())]


async def run(house: House, container: str, model: str, *, seed: int = 1, **labels: str) -> int:
    """As a person does: docker run -d --label hotseat.model=... Returns the engine's port."""
    port = free_port()
    arguments = ["run", "--detach", "--name", container, "--network", "host"]
    arguments += ["--label", f"house={house.directory}"]
    for volume in volumes(house):
        arguments += ["--volume", volume]
    for limit, value in LIMITS.items():
        arguments += ["--ulimit", f"{limit}={value}:{value}"]
    for label, value in {"model": model, "port": str(port), "gpu_memory": "34MiB", **labels}.items():
        arguments += ["--label", f"hotseat.{label}={value}"]
    await house.person(*arguments, IMAGE, *engine(model, port, seed))
    return port


@in_containers
async def test_labelled_containers_come_and_go_while_it_serves(daemon: Daemon, house: House) -> None:
    first, second, renamed, broken = (house.name() for _ in range(4))
    async with containers(house, first, second, renamed, broken):
        await daemon.up()
        assert (await daemon.ask("m1"))[0] == 404
        await run(house, first, "m1", name="one")
        await until(lambda: daemon.states() == {"one": "seated"})
        said = await daemon.says("m1")

        await daemon_parks(daemon, "one")
        await run(house, second, "m2", seed=2, idle_timeout="1h")
        await until(lambda: daemon.states().get(second) == "seated")
        assert await daemon.says("m2") != said
        assert await daemon.says("m1") == said, "it went on where it was"
        assert daemon.states() == {"one": "seated", second: "parked"}

        await run(house, broken, "m3", prioritty="5")
        async with daemon.client() as client:
            await until_noted(client, f"{broken} ({house.kind}): hotseat.prioritty: unknown label")
        assert (await daemon.ask("m3"))[0] == 404
        await house.person("rm", "--force", broken)

        await house.person("rename", first, renamed)
        assert await daemon.says("m1") == said
        await house.person("rm", "--force", renamed)
        await until(lambda: "one" not in daemon.states())
        assert (await daemon.ask("m1"))[0] == 404
        await run(house, first, "m1", name="one")
        await until(lambda: daemon.states().get("one") == "seated")
        assert await daemon.says("m1") == said


async def daemon_parks(daemon: Daemon, name: str) -> None:
    async with daemon.client() as client:
        await client.park(name)
    assert daemon.states()[name] == "parked"


async def until_noted(client: Client, beginning: str) -> None:
    async with asyncio.timeout(30):
        while not any(note.startswith(beginning) for note in (await client.health())["notes"]):  # noqa: ASYNC110 - a note is no event
            await asyncio.sleep(0.05)


def made(house: House, name: str, *, seed: int = 1, **more: Any) -> dict[str, Any]:
    """A workload of the file that hotseat makes."""
    port = free_port()
    run = {
        "network": "host",
        "gpus": "none",
        "volumes": volumes(house),
        "ulimits": LIMITS,
        "labels": {"team": "search"},
    }
    command = engine(name, port, seed)
    return {
        "platform": house.kind,
        "image": IMAGE,
        "command": command,
        "port": port,
        "gpu_memory": "34MiB",
        "run": run,
        "env": {"WHO": name},
        **more,
    }


@in_containers
async def test_the_first_request_makes_and_starts_it_and_a_changed_file_makes_it_anew(
    daemon: Daemon, house: House
) -> None:
    a, b = house.name(), house.name()
    async with containers(house, a, b):
        specs = {a: made(house, a), b: made(house, b, seed=2)}
        daemon.write(specs)
        await daemon.up()
        assert daemon.states() == {a: "stopped", b: "stopped"}
        said = await daemon.says(a)
        first = await house.platform.inspect(a)
        assert (first.labels["team"], first.labels["hotseat.models"]) == ("search", a)
        assert await daemon.says(b) != said
        assert daemon.states() == {a: "parked", b: "seated"}

        specs[a] = {**specs[a], "command": engine(a, specs[a]["port"], seed=3)}
        daemon.write(specs)
        async with daemon.client() as client:
            assert (await client.reload())["at_next_start"] == {a: ["command"]}
        assert await daemon.says(a) == said, "what is parked is not replaced"
        assert (await house.platform.inspect(a)).id == first.id
        await house.person("kill", a)
        await until(lambda: daemon.states()[a] == "stopped")
        assert await daemon.says(a) != said
        assert (await house.platform.inspect(a)).id != first.id


@in_containers
async def test_what_keeps_it_from_starting_is_told_to_who_waits(daemon: Daemon, house: House) -> None:
    crash, missing, theirs = house.name(), house.name(), house.name()
    async with containers(house, crash, missing, theirs):
        daemon.write(
            {
                crash: {**made(house, crash), "command": [image.PROGRAM, "--no-such-option"]},
                missing: {**made(house, missing), "image": "hotseat-no-such-image:1"},
            }
        )
        await daemon.up()
        status, answer = await daemon.ask(crash)
        assert status in (502, 503)
        assert "no-such-option" in answer["error"]["message"], "the last lines of its log"
        status, answer = await daemon.ask(missing)
        assert status == 503
        assert "hotseat-no-such-image:1 is not on this host" in answer["error"]["message"]
        assert (await house.platform.inspect(crash)).status is Status.EXITED


@pytest.mark.docker
@pytest.mark.compose
@pytest.mark.parametrize("kind", ["docker"])
async def test_a_compose_file_is_enough(daemon: Daemon, house: House, tmp_path: Path) -> None:
    project = house.name()

    def service(model: str, seed: int) -> dict[str, Any]:
        port = free_port()
        return {
            "image": IMAGE,
            "command": engine(model, port, seed),
            "network_mode": "host",
            "volumes": volumes(house),
            "ulimits": LIMITS,
            "labels": {
                "hotseat.model": f"{model}, {model}-too",
                "hotseat.port": str(port),
                "house": str(house.directory),
            },
        }

    file = tmp_path / "docker-compose.yml"
    services = {"chat": service("m-chat", 1), "code": service("m-code", 2)}
    file.write_text(yaml.safe_dump({"version": "2.4", "services": services}))
    program = daemons.program("docker-compose", package="docker-compose")

    async def compose(*arguments: str) -> None:
        assert house.engine is not None
        environment = {**os.environ, "DOCKER_HOST": f"unix://{house.engine.socket}"}
        command = [program, "--project-name", project, "--file", str(file), *arguments]
        await asyncio.to_thread(daemons.run, command, env=environment)

    await daemon.up()
    try:
        await compose("up", "--no-start")
        await until(lambda: daemon.states() == {"chat": "stopped", "code": "stopped"})
        said = await daemon.says("m-chat-too")
        assert await daemon.says("m-code") != said
        assert daemon.states() == {"chat": "parked", "code": "seated"}
        assert await daemon.says("m-chat") == said
    finally:
        await compose("down", "--timeout", "1")
    await until(lambda: daemon.states() == {})
