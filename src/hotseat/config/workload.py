"""`workloads.NAME` and `defaults`: one container or process tree, and how it takes turns."""

from __future__ import annotations

import urllib.parse
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BeforeValidator, Field, PrivateAttr

from hotseat.config.base import WHOLE, DeviceIndex, Model, NonEmpty, Port, UrlPath, Wrong
from hotseat.config.hooks import Hooks
from hotseat.config.run import Run
from hotseat.config.store import Interposed
from hotseat.config.units import Duration, DurationOrOff, Size


def _http_url(value: str) -> str:
    url = urllib.parse.urlsplit(value)
    if url.scheme not in ("http", "https") or not url.hostname or url.query or url.fragment:
        raise Wrong("not the address of an engine", 'write for example "http://127.0.0.1:8001"')
    return value.rstrip("/")


def _env(value: Any) -> Any:
    # YAML reads `PORT: 8000` as a number; an environment has only text. true, yes, on would surprise: refused.
    if isinstance(value, dict):
        for key, item in value.items():
            if isinstance(item, bool):
                raise Wrong(f"{key}: YAML reads this as true or false", "write it in quotes")
        return {key: str(item) if isinstance(item, int | float) else item for key, item in value.items()}
    return value


def _gpu_memory(value: Any) -> Any:
    return {0: value} if isinstance(value, int | str) and not isinstance(value, bool) else value


class Defaults(Model):
    """Each of these may stand under `defaults` (for all workloads) and under a workload."""

    health: UrlPath = "/health"
    """Path that answers 2xx when the engine can serve."""
    health_timeout: Duration = 30.0
    """How long an engine may take to answer `health` after it is seated."""
    start_timeout: Duration = 600.0
    """How long a cold start may take until `health` answers."""
    stop_grace: Duration = 10.0
    """How long a container that hotseat stops has to end by itself."""
    priority: Annotated[int, Field(ge=-100, le=100), WHOLE] = 0
    """Who is served first, and who makes room last, where several want one seat. Higher is more."""
    drain: DurationOrOff = None
    """`off`: a swap out freezes answers in the middle, they go on later. A duration: wait so long for them to end."""
    min_stay: Duration = 5.0
    """A workload with work to do keeps its seat at least this long, and at least as long as its swaps take."""
    linger: Duration = 0.5
    """A workload counts as having work to do until this long after its last answer."""
    max_wait: Duration = 600.0
    """A request that waited this long for its seat is answered 503."""
    max_queue: Annotated[int, Field(ge=1), WHOLE] = 1000
    """Requests that may wait for its seat at once; one more is answered 429."""
    idle_timeout: DurationOrOff = None
    """After so long without a request it gives up its seat by itself, as `idle` says. `off`: when it must make room."""
    idle: Literal["park", "stop"] = "park"
    """What `idle_timeout` does with it."""
    context: Literal["restore", "keep"] = "restore"
    """`keep`: where the store moves its memory, its contexts stay on the devices while it is parked (about 0.6GiB a
    process), for the fastest return, until another needs the room. `restore`: they leave, and come back with it."""
    prefetch: bool = False
    """Parked or stored and often asked for, it is brought into device memory that nobody needs, ahead of its request,
    and gives it up at once to anybody who does."""
    on_quarantine: Literal["stay", "restart"] = "stay"
    """`restart`: a workload that a swap has lost is started cold by itself, with longer and longer pauses between."""


class Workload(Defaults):
    """One container or process tree."""

    platform: Literal["docker", "podman", "process"] = "docker"
    """Who runs it. `process`: hotseat itself starts `command`."""
    container: NonEmpty | None = None
    """Name or id of the container; the workload's own name if not given."""
    models: Annotated[list[NonEmpty], Field(min_length=1)] | None = None
    """Model names that its engine answers to; the workload's own name if not given."""
    url: Annotated[str, AfterValidator(_http_url)] | None = None
    """Where the engine listens, as seen from this host. Or give `port`."""
    port: Port | None = None
    """The engine's port at the container's own address (for `process` at 127.0.0.1)."""
    image: NonEmpty | None = None
    """Create the container from this image when there is none of its name, and anew when this file changed. It must be
    on this host: hotseat pulls nothing. Not given: the container is somebody else's and only started."""
    command: Annotated[list[str], Field(min_length=1)] | None = None
    """Program and arguments, one list item each; no shell. For `process` (needed) and with `image` (its arguments)."""
    env: Annotated[dict[str, str], BeforeValidator(_env)] = Field(default_factory=dict)
    """Environment variables added for `command`."""
    workdir: Path | None = None
    """Directory in which `command` of a `process` runs; relative to the file."""
    run: Run = Field(default_factory=Run)
    """How the container of `image` is created."""
    start: bool = True
    """Start it when it is stopped and a request needs it."""
    preload: bool | None = None
    """`true`: start it at `hotseat up` and seat it while there is room, without waiting for a request. `false`: not
    before a request. Not given: a `process` is started at `hotseat up` and makes room for the others, a container waits
    for a request."""
    gpu_memory: Annotated[dict[DeviceIndex, Size], BeforeValidator(_gpu_memory)] | None = None
    """Device memory a cold start needs, per device index (a bare size means device 0). Not needed once it was
    seated: hotseat has then seen it. Not given and not yet seen: a cold start gets the devices to itself."""
    pinned: bool = False
    """Never parked to make room for others."""
    interposed: Interposed = "auto"
    """Its processes run with the interposer, so that the store can move their memory. `auto`: as `store.use` says."""
    hooks: Hooks = Field(default_factory=Hooks)
    """HTTP calls to the engine around a swap."""

    _identity: str | None = PrivateAttr(default=None)

    @property
    def identity(self) -> str | None:
        """The id of a container that was found by its label: by this it is looked up, whatever its name is by now."""
        return self._identity

    def of(self, identity: str) -> Workload:
        """The same, of the container with this id."""
        found = self.model_copy()
        found._identity = identity
        return found

    def ref(self, name: str) -> str:
        """What its platform is asked for; `name` is the workload's own."""
        return self._identity or self.container or name

    @property
    def made_here(self) -> bool:
        """hotseat makes its container or process; otherwise somebody else does."""
        return self.platform == "process" or self.image is not None
