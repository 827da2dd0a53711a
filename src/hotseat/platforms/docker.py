"""Docker, by the Engine API of the daemon on this host (the system's or the user's own).

The daemon is found by DOCKER_HOST, /var/run/docker.sock, $XDG_RUNTIME_DIR/docker.sock. Daemons elsewhere are refused:
their processes are not here.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path

from hotseat.errors import PlatformFailed
from hotseat.platforms import engine_json, sockets
from hotseat.platforms.engine_api import EngineApi
from hotseat.platforms.engine_platform import EnginePlatform
from hotseat.platforms.port import Container
from hotseat.platforms.spec import ContainerSpec

START_HINT = "start the daemon: `sudo systemctl start docker`, or set DOCKER_HOST to where it listens"


class DockerPlatform(EnginePlatform):
    """`socket` instead of the places where Docker is looked for. Must be made inside a running event loop."""

    name = "docker"

    def __init__(self, *, socket: Path | None = None, env: Mapping[str, str] = os.environ) -> None:
        async def find() -> Path:
            if socket is not None:
                return socket
            candidates = sockets.docker_candidates(env)
            found = sockets.first_listening(candidates)
            if found is None:
                places = " or ".join(str(path) for path in candidates)
                raise PlatformFailed(f"no docker daemon listens at {places}", hint=START_HINT)
            return found

        super().__init__(EngineApi(platform=self.name, find_socket=find, program="docker", start_hint=START_HINT))

    async def import_image(self, tar: Path, *, reference: str) -> None:
        """A root file system in a tar file becomes the image `reference` ("name:tag")."""
        repository, _, tag = reference.partition(":")
        params = {"fromSrc": "-", "repo": repository, "tag": tag or "latest"}
        with tar.open("rb") as file:
            await self._api.raw("POST", "images/create", params=params, body=file, deadline=600.0)

    async def create(self, spec: ContainerSpec) -> Container:
        """Create, not start. `NotFound`: no such image here (nothing is pulled). `Refused`: cannot be honoured."""
        body = engine_json.docker_create(spec)
        answer = await self._api.json("POST", "containers/create", params={"name": spec.name}, body=body, deadline=30.0)
        return await self.inspect(answer["Id"])
