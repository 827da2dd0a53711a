"""The container engine that the demo runs in: the machine's own if it can run our image, else a private one.

The image needs no registry: it is made of this machine's own C library and the demo engine.
"""

from __future__ import annotations

import asyncio
import os
import secrets
import shutil
import tempfile
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

from hotseat.demo import image
from hotseat.errors import HotseatError, NotFound, PlatformFailed
from hotseat.platforms.docker import DockerPlatform
from hotseat.platforms.podman import PodmanPlatform
from hotseat.platforms.port import Status
from hotseat.platforms.spec import ContainerSpec
from hotseat.testing.engines import DockerDaemon, PodmanServer

PROGRAM_DEADLINE = 60.0
TRIAL_DEADLINE = 30.0
LIMITS = {"nofile": 4096, "nproc": 4096}
"""Named, because Podman would otherwise raise them, which not every machine allows."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Engine:
    """A container engine that has the image and was seen to run it."""

    platform: str
    adapter: DockerPlatform | PodmanPlatform
    reference: str
    command: tuple[str, ...]
    """`docker` or `podman`, as this engine is reached from a command line."""
    environment: Mapping[str, str]
    private: bool

    async def status_line(self, name: str) -> str:
        """What `docker ps` or `podman ps` shows of the container: its name and status."""
        shown = await self.run("ps", "--all", "--filter", f"name={name}", "--format", "{{.Names}}  {{.Status}}")
        return shown.strip()

    async def run(self, *arguments: str) -> str:
        """One command of the container engine. `PlatformFailed` with its words."""
        program = shutil.which(self.command[0])
        if program is None:
            raise NotFound(f"no program {self.command[0]} here", hint=f"apt-get install {self.command[0]}")
        child = await asyncio.create_subprocess_exec(
            program,
            *self.command[1:],
            *arguments,
            stdin=asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
            env={**os.environ, **self.environment},
        )
        try:
            async with asyncio.timeout(PROGRAM_DEADLINE):
                out, err = await child.communicate()
        finally:
            if child.returncode is None:
                child.kill()
                await child.wait()
        if child.returncode:
            raise PlatformFailed(f"{self.platform} {arguments[0]}: {err.decode(errors='replace').strip()}")
        return out.decode(errors="replace")


@asynccontextmanager
async def container_engine(platform: str, *, tell: Callable[[str], None]) -> AsyncIterator[Engine | None]:
    """None for bare processes. Leaves neither image nor engine behind."""
    if platform == "process":
        yield None
        return
    async with AsyncExitStack() as stack:
        directory = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix=f"hotseat-{platform}-")))
        tar = image.build(directory / "image.tar")
        try:
            engine = await stack.enter_async_context(_ready(_own(platform), tar))
        except HotseatError as why:
            if os.geteuid() != 0:
                raise
            tell(f"{platform} of this machine will not do ({why.message}); starting a private one for the demo")
            private = await asyncio.to_thread(_start_private, platform, directory)
            stack.callback(private.stop)
            engine = await stack.enter_async_context(_ready(_private(private), tar))
        tar.unlink()
        yield engine


def _own(platform: str) -> Engine:
    adapter = DockerPlatform() if platform == "docker" else PodmanPlatform()
    return _engine(adapter, command=(platform,), environment={}, private=False)


def _start_private(platform: str, directory: Path) -> DockerDaemon | PodmanServer:
    server = (DockerDaemon if platform == "docker" else PodmanServer)(directory=directory / "engine")
    server.start()
    return server


def _private(server: DockerDaemon | PodmanServer) -> Engine:
    url = f"unix://{server.socket}"
    if isinstance(server, DockerDaemon):
        docker = DockerPlatform(socket=server.socket)
        return _engine(docker, command=("docker",), environment={"DOCKER_HOST": url}, private=True)
    podman = PodmanPlatform(socket=server.socket)
    configuration = {"CONTAINER_HOST": url, "CONTAINERS_CONF": server.env["CONTAINERS_CONF"]}
    # With CONTAINER_HOST `podman` asks that service; a store of its own on the command line it would refuse.
    return _engine(podman, command=("podman",), environment=configuration, private=True)


def _engine(
    adapter: DockerPlatform | PodmanPlatform,
    *,
    command: tuple[str, ...],
    environment: Mapping[str, str],
    private: bool,
) -> Engine:
    return Engine(
        platform=adapter.name,
        adapter=adapter,
        reference=f"localhost/hotseat-demo-{secrets.token_hex(4)}:latest",
        command=command,
        environment=environment,
        private=private,
    )


@asynccontextmanager
async def _ready(engine: Engine, tar: Path) -> AsyncIterator[Engine]:
    """With the image in it, and a container of it seen to run: engines differ in what they can do on a machine."""
    try:
        await engine.adapter.import_image(tar, reference=engine.reference)
        try:
            await _trial(engine)
            yield engine
        finally:
            with suppress(HotseatError):
                await engine.run("rmi", "--force", engine.reference)
    finally:
        await engine.adapter.aclose()


async def _trial(engine: Engine) -> None:
    name = engine.reference.removeprefix("localhost/").removesuffix(":latest") + "-trial"
    spec = ContainerSpec(name=name, image=engine.reference, command=(image.PROGRAM, "--version"), ulimits=LIMITS)
    container = await engine.adapter.create(spec)
    try:
        await engine.adapter.start(container)
        async with asyncio.timeout(TRIAL_DEADLINE):
            while True:
                now = await engine.adapter.inspect(container.id)
                if now.status is Status.EXITED:
                    break
                await asyncio.sleep(0.1)
        if now.exit_code:
            words = (await engine.adapter.logs(now)).strip()
            raise PlatformFailed(f"a trial container ended with exit code {now.exit_code}: {words}")
    except TimeoutError:
        raise PlatformFailed(f"a trial container did not end within {TRIAL_DEADLINE:g} s") from None
    finally:
        with suppress(HotseatError):
            await engine.adapter.remove(container)
