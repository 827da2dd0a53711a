"""Podman, root's or the user's own (rootless), by its API socket.

The socket is found by CONTAINER_HOST, /run/podman/podman.sock, $XDG_RUNTIME_DIR/podman/podman.sock. Where none
listens but the program `podman` is there, hotseat starts `podman system service` itself on a socket of its own. That
service ends with us, and by itself a minute after its last request should we die first; containers do not need it.

The compatibility API does all but two things: it creates no containers from a root file system or with CDI devices,
and it forgets the default limits if any limit is named; containers are created through libpod's own API.
"""

from __future__ import annotations

import os
import resource
import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path

from hotseat.errors import PlatformFailed
from hotseat.platforms import engine_json, sockets
from hotseat.platforms.engine_api import EngineApi
from hotseat.platforms.engine_platform import EnginePlatform
from hotseat.platforms.podman_service import PodmanService
from hotseat.platforms.port import Container, Status
from hotseat.platforms.spec import ContainerSpec

START_HINT = "install podman, or start its socket: `systemctl enable --now podman.socket` (`--user` for rootless)"
_LIBPOD = "v4.0.0/libpod"


class PodmanPlatform(EnginePlatform):
    """`socket` instead of the places where Podman is looked for; `command` to start a service where none listens
    (empty: never). Must be made inside a running event loop."""

    name = "podman"

    def __init__(
        self,
        *,
        socket: Path | None = None,
        command: Sequence[str] = ("podman",),
        env: Mapping[str, str] = os.environ,
    ) -> None:
        self._service = PodmanService(command=command, env=env) if command and socket is None else None

        async def find() -> Path:
            if socket is not None:
                return socket
            candidates = sockets.podman_candidates(env)
            found = sockets.first_listening(candidates)
            if found is not None:
                return found
            # With CONTAINER_HOST somebody said where: not ours to put another in its place.
            named = "CONTAINER_HOST" in env
            if self._service is not None and not named and shutil.which(command[0], path=env.get("PATH")):
                return await self._service.socket()
            places = " or ".join(str(path) for path in candidates)
            raise PlatformFailed(f"no podman service listens at {places}", hint=START_HINT)

        super().__init__(EngineApi(platform=self.name, find_socket=find, program="podman", start_hint=START_HINT))

    async def import_image(self, tar: Path, *, reference: str) -> None:
        """A root file system in a tar file becomes the image `reference` ("name:tag")."""
        with tar.open("rb") as file:
            await self._api.raw(
                "POST",
                f"{_LIBPOD}/images/import",
                params={"reference": reference},
                body=file,
                deadline=600.0,
                versioned=False,
            )

    async def create(self, spec: ContainerSpec) -> Container:
        """Create, not start. `NotFound`: no such image here (nothing is pulled)."""
        answer = await self._api.json(
            "POST",
            f"{_LIBPOD}/containers/create",
            body=engine_json.podman_create(spec, ulimits=own_limits()),
            deadline=30.0,
            versioned=False,
        )
        return await self.inspect(answer["Id"])

    async def stop(self, container: Container, *, grace: float) -> None:
        # Unlike Docker, Podman does not stop what is paused.
        if (await self.inspect(container.id)).status is Status.PAUSED:
            await self.unpause(container)
        await super().stop(container, grace=grace)

    async def _delete(self, identity: str) -> None:
        # The compatibility API waits ten seconds for a program that does not listen to SIGTERM.
        params = {"force": "true", "v": "true", "timeout": "0"}
        path = f"{_LIBPOD}/containers/{identity}"
        await self._api.raw("DELETE", path, params=params, deadline=30.0, versioned=False)

    async def aclose(self) -> None:
        await super().aclose()
        if self._service is not None:
            await self._service.aclose()


def own_limits() -> dict[str, int]:
    """nofile and nproc as high as we may go: Podman asks for 1048576, and without CAP_SYS_RESOURCE cannot have it.

    Podman lowers its own nproc to pid_max when it starts, so no container of it gets more.
    """
    pid_max = int(Path("/proc/sys/kernel/pid_max").read_text())
    files, processes = (resource.getrlimit(which)[1] for which in (resource.RLIMIT_NOFILE, resource.RLIMIT_NPROC))
    return {
        "nofile": files if files != resource.RLIM_INFINITY else 1 << 20,
        "nproc": min(processes, pid_max) if processes != resource.RLIM_INFINITY else pid_max,
    }
