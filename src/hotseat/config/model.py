"""The shape of `hotseat.yaml`. Every field's description is what docs/configuration.md and the JSON schema show.

Records are frozen and whole: after validation every workload carries its own value for each default.
"""

from __future__ import annotations

import re
import urllib.parse
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field, model_validator

from hotseat.config import paths
from hotseat.config.units import Duration, DurationOrOff, Size

_NAME = re.compile(r"[a-z0-9]([a-z0-9._-]{0,62}[a-z0-9])?")


def _name(value: str) -> str:
    if not _NAME.fullmatch(value):
        raise ValueError("a workload's name is 1 to 64 of a-z, 0-9, '.', '_', '-', and begins and ends with a-z or 0-9")
    return value


def _http_url(value: str) -> str:
    url = urllib.parse.urlsplit(value)
    if url.scheme not in ("http", "https") or not url.hostname or url.query or url.fragment:
        raise ValueError('not the address of an engine; write for example "http://127.0.0.1:8001"')
    return value.rstrip("/")


def _path(value: str) -> str:
    if not value.startswith("/"):
        raise ValueError('a path begins with "/"')
    return value


def _env(value: Any) -> Any:
    # YAML reads `PORT: 8000` as a number; an environment has only text. true, yes, on would surprise: refused.
    if isinstance(value, dict):
        for key, item in value.items():
            if isinstance(item, bool):
                raise ValueError(f"{key}: YAML reads this as true or false; write it in quotes")  # noqa: TRY004
        return {key: str(item) if isinstance(item, int | float) else item for key, item in value.items()}
    return value


def _gpu_memory(value: Any) -> Any:
    return {0: value} if isinstance(value, int | str) and not isinstance(value, bool) else value


Port = Annotated[int, Field(ge=1, le=65535)]
DeviceIndex = Annotated[int, Field(ge=0)]
Name = Annotated[str, AfterValidator(_name)]


class _Model(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, use_attribute_docstrings=True)


class Gateway(_Model):
    """The OpenAI-compatible front."""

    host: str = "127.0.0.1"
    """Address to listen on. Anyone who reaches it may use every model: there are no keys yet."""
    port: Annotated[int, Field(ge=0, le=65535)] = 8000
    """Port to listen on; 0 takes a free one."""
    keepalive: Duration = 10.0
    """A stream that waits, or whose workload is parked in mid-answer, gets an SSE comment this often."""
    max_body: Size = 64 * 2**20
    """Larger request bodies are refused with 413."""
    max_silence: Duration = 600.0
    """An engine that sits and says nothing for this long is given up with 504. Time off the GPU does not count."""


class DeviceCap(_Model):
    """One GPU."""

    cap: Size
    """Bytes that all workloads together may use, below the device's size."""


class Defaults(_Model):
    """Each of these may stand under `defaults` (for all workloads) and under a workload."""

    health: Annotated[str, AfterValidator(_path)] = "/health"
    """Path that answers 2xx when the engine can serve."""
    health_timeout: Duration = 30.0
    """How long an engine may take to answer `health` after it is seated."""
    start_timeout: Duration = 600.0
    """How long a cold start may take until `health` answers."""
    drain: DurationOrOff = None
    """`off`: a swap out freezes answers in the middle, they go on later. A duration: wait so long for them to end."""
    min_stay: Duration = 5.0
    """A workload with work to do keeps its seat at least this long."""
    linger: Duration = 0.5
    """A workload counts as having work to do until this long after its last answer."""
    max_wait: Duration = 600.0
    """A request that waited this long for its seat is answered 503."""


class Workload(Defaults):
    """One container or process tree."""

    platform: Literal["docker", "podman", "process"] = "docker"
    """Who runs it. `process`: hotseat itself starts `command`."""
    container: Annotated[str, Field(min_length=1)] | None = None
    """Name or id of the container; the workload's own name if not given."""
    models: Annotated[list[Annotated[str, Field(min_length=1)]], Field(min_length=1)] | None = None
    """Model names that its engine answers to; the workload's own name if not given."""
    url: Annotated[str, AfterValidator(_http_url)] | None = None
    """Where the engine listens, as seen from this host. Or give `port`."""
    port: Port | None = None
    """The engine's port at the container's own address (for `process` at 127.0.0.1)."""
    command: Annotated[list[str], Field(min_length=1)] | None = None
    """Program and arguments, one list item each; no shell. Only and always for `process`."""
    env: Annotated[dict[str, str], BeforeValidator(_env)] = Field(default_factory=dict)
    """Environment variables added for `command`."""
    workdir: Path | None = None
    """Directory in which `command` runs; relative to the file."""
    start: bool = True
    """Start it when it is stopped and a request needs it."""
    gpu_memory: Annotated[dict[DeviceIndex, Size], BeforeValidator(_gpu_memory)] | None = None
    """Device memory a cold start needs, per device index (a bare size means device 0). Not needed once it was
    seated: hotseat has then seen it. Not given and not yet seen: a cold start gets the devices to itself."""
    pinned: bool = False
    """Never parked to make room for others."""

    @model_validator(mode="after")
    def _check(self) -> Workload:
        if (self.url is None) == (self.port is None):
            raise ValueError("give either `url` or `port`" + (", not both" if self.url else ""))
        if self.platform == "process":
            if self.command is None:
                raise ValueError("platform `process` needs a `command`, a list such as [vllm, serve, ...]")
            if self.container is not None:
                raise ValueError("`container` is for docker and podman; a process takes the workload's name")
        else:
            for field in ("command", "env", "workdir"):
                if getattr(self, field):
                    raise ValueError(f"`{field}` is for platform `process`; a container has its own")
        return self


class Config(_Model):
    """The whole of `hotseat.yaml`."""

    gateway: Gateway = Field(default_factory=Gateway)
    """The OpenAI-compatible front."""
    control: Path = Field(default_factory=paths.control_socket)
    """The daemon's control socket (mode 0600). Default: /run/hotseat/control.sock, or below $XDG_RUNTIME_DIR."""
    state: Path = Field(default_factory=paths.state_directory)
    """Directory of the journal. Default: /var/lib/hotseat, or below $XDG_STATE_HOME."""
    devices: dict[DeviceIndex, DeviceCap] = Field(default_factory=dict)
    """Caps, by the index that `hotseat doctor` shows. A device that is not named may be used whole."""
    defaults: Defaults = Field(default_factory=Defaults)
    """What every workload takes unless it says otherwise."""
    workloads: Annotated[dict[Name, Workload], Field(min_length=1)]
    """The workloads by name."""

    @model_validator(mode="after")
    def _fill(self) -> Config:
        for name, workload in self.workloads.items():
            given = workload.model_fields_set
            update: dict[str, Any] = {
                field: getattr(self.defaults, field) for field in Defaults.model_fields if field not in given
            }
            update |= {"container": workload.container or name, "models": workload.models or [name]}
            self.workloads[name] = workload.model_copy(update=update)
        return self

    def caps(self) -> dict[int, int]:
        """Bytes per capped device index."""
        return {index: device.cap for index, device in self.devices.items()}


def container_of(name: str, workload: Workload) -> str:
    return workload.container or name


def models_of(name: str, workload: Workload) -> list[str]:
    return workload.models or [name]


def json_schema() -> dict[str, Any]:
    """The JSON schema of hotseat.yaml, for editors. Stored as examples/hotseat.schema.json."""
    schema = Config.model_json_schema()
    return {"$schema": "https://json-schema.org/draft/2020-12/schema", "title": "hotseat.yaml", **schema}
