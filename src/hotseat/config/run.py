"""`workloads.NAME.run`: how hotseat creates the container of an `image`."""

from __future__ import annotations

import ipaddress
import re
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BeforeValidator, Field

from hotseat.config.base import WHOLE, DeviceIndex, Model, NonEmpty, Wrong
from hotseat.config.units import Size

_VOLUME = re.compile(r"(?P<source>[^:]+):(?P<target>/[^:]*)(?::(?P<mode>ro|rw))?")
_VOLUME_NAME = re.compile(r"[a-zA-Z0-9][a-zA-Z0-9_.-]*")
_PUBLISH = re.compile(r"(?:(?P<address>\[[^]]+\]|[^:]+):)?(?P<host>\d+):(?P<inside>\d+)")
_HIGHEST_PORT = 65535


def volume_parts(value: str) -> tuple[str, str, bool]:
    """Source (a path, or a volume's name), path inside, and whether it is read-only."""
    match = _VOLUME.fullmatch(value)
    source = match["source"] if match else ""
    if match is None or not (source.startswith(("/", "./", "../", "~/")) or _VOLUME_NAME.fullmatch(source)):
        raise Wrong(
            f"{value!r} is no volume",
            'write "HOST_PATH:PATH_INSIDE", or "VOLUME:PATH_INSIDE"; ":ro" behind it for read-only',
        )
    return source, match["target"], match["mode"] == "ro"


def publish_parts(value: str) -> tuple[str, int, int]:
    """Address and port on the host, port inside."""
    match = _PUBLISH.fullmatch(value)
    ports = (int(match["host"]), int(match["inside"])) if match else (0, 0)
    if match is None or not all(0 < port <= _HIGHEST_PORT for port in ports):
        raise Wrong(
            f"{value!r} publishes no port",
            'write "HOST_PORT:PORT_INSIDE" or "ADDRESS:HOST_PORT:PORT_INSIDE"; ports are 1 to 65535',
        )
    address = (match["address"] or "127.0.0.1").strip("[]")
    try:
        ipaddress.ip_address(address)
    except ValueError:
        raise Wrong(f"{address!r} is not an IP address", 'write for example "127.0.0.1:8001:8000"') from None
    return address, *ports


def _volume(value: str) -> str:
    volume_parts(value)
    return value


def _publish(value: Any) -> Any:
    # YAML 1.1 reads 22:22 as a number to the base of sixty; what was written cannot be told any more.
    if isinstance(value, int) and not isinstance(value, bool):
        raise Wrong("YAML reads this as a number", 'write it in quotes: "8001:8000"')
    if isinstance(value, str):
        publish_parts(value)
    return value


def _gpus(value: Any) -> Any:
    # Said here once; the union would say it twice.
    if value in ("all", "none") or (isinstance(value, list) and all(type(item) is int and item >= 0 for item in value)):
        return value
    raise Wrong("not a choice of devices", "write all, none, or a list of device indices: [0, 1]")


class Run(Model):
    """How hotseat creates the container of `image`. Each is what the platform's own option of that name does."""

    entrypoint: list[str] | None = None
    """Replaces the image's entry point."""
    volumes: list[Annotated[str, AfterValidator(_volume)]] = Field(default_factory=list)
    """"HOST_PATH:CONTAINER_PATH", or a volume's name in place of the path; ":ro" behind it for read-only. A path that
    begins with "./" is relative to the file."""
    publish: list[Annotated[str, BeforeValidator(_publish)]] = Field(default_factory=list)
    """"HOST_PORT:CONTAINER_PORT", or "ADDRESS:HOST_PORT:CONTAINER_PORT". 127.0.0.1 unless an address is given."""
    network: NonEmpty = "bridge"
    """"bridge", "host", "none", or a network's name."""
    gpus: Annotated[Literal["all", "none"] | list[DeviceIndex], BeforeValidator(_gpus)] = "all"
    """Which GPUs it sees."""
    devices: list[NonEmpty] = Field(default_factory=list)
    """Device paths or CDI names added to those of `gpus`."""
    shm_size: Size | None = None
    """Size of /dev/shm."""
    memory: Size | None = None
    """Host memory limit. A parked workload keeps its GPU memory inside it."""
    user: str | None = None
    """User, or user:group, inside."""
    workdir: str | None = None
    """Working directory inside."""
    ulimits: dict[str, Annotated[int, WHOLE]] = Field(default_factory=dict)
    """By the names of setrlimit(2) in lower case: {nofile: 65536}"""
    labels: dict[str, str] = Field(default_factory=dict)
    """Labels added to hotseat's own."""
