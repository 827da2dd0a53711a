"""The shape of `hotseat.yaml`. Every field's description is what docs/configuration.md and the JSON schema show.

Records are frozen. `load` makes them whole: every workload then carries its own value for each default.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any, Literal

from pydantic import Field

from hotseat.config import paths
from hotseat.config.base import DeviceIndex, Model, Name
from hotseat.config.gateway import Gateway, Key
from hotseat.config.store import Store
from hotseat.config.units import Size
from hotseat.config.workload import Defaults, Workload


class DeviceCap(Model):
    """One GPU."""

    cap: Size
    """Bytes that all workloads together may use, below the device's size."""


class HostMemory(Model):
    """Host memory is a budget too: a parked workload holds as much of it as it had GPU memory."""

    parked: Size | None = None
    """What all parked workloads together may hold. Not given: what the host has, less `reserve`."""
    reserve: Size = 2 * 2**30
    """What stays free on the host for everything else."""


class Discovery(Model):
    """Containers with the label `hotseat.model` are found, adopted and forgotten by themselves."""

    docker: bool = True
    """Look for them on Docker."""
    podman: bool = True
    """Look for them on Podman."""
    labels: dict[str, str] = Field(default_factory=dict)
    """Find only containers that carry these labels too, with these values: several hotseats share one engine by it."""


class Config(Model):
    """The whole of `hotseat.yaml`."""

    gateway: Gateway = Field(default_factory=Gateway)
    """The OpenAI-compatible front."""
    keys: dict[Name, Key] = Field(default_factory=dict)
    """API keys by the names of their bearers. If there is one, every request needs one."""
    control: Path = Field(default_factory=paths.control_socket)
    """The daemon's control socket (mode 0600). Default: /run/hotseat/control.sock, or below $XDG_RUNTIME_DIR."""
    state: Path = Field(default_factory=paths.state_directory)
    """Directory of the journal. Default: /var/lib/hotseat, or below $XDG_STATE_HOME."""
    devices: dict[DeviceIndex, DeviceCap] = Field(default_factory=dict)
    """Caps, by the index that `hotseat doctor` shows. A device that is not named may be used whole."""
    host_memory: HostMemory = Field(default_factory=HostMemory)
    """How much of the host's memory parked workloads may hold. Who would not fit is stopped rather than parked."""
    store: Store = Field(default_factory=Store)
    """The snapshot store of this node."""
    discovery: Discovery = Field(default_factory=Discovery)
    """Adopt labelled containers."""
    on_stop: Literal["leave", "seat", "stop"] = "leave"
    """What a graceful stop of the daemon does with parked workloads: leave them parked, seat what fits, stop them."""
    defaults: Defaults = Field(default_factory=Defaults)
    """What every workload takes unless it says otherwise."""
    workloads: dict[Name, Workload] = Field(default_factory=dict)
    """The workloads by name. None are needed where `discovery` finds some."""

    def caps(self) -> dict[int, int]:
        """Bytes per capped device index."""
        return {index: device.cap for index, device in self.devices.items()}


def json_schema() -> dict[str, Any]:
    """The JSON schema of hotseat.yaml, for editors. Stored as examples/hotseat.schema.json."""
    schema = Config.model_json_schema()
    return {"$schema": "https://json-schema.org/draft/2020-12/schema", "title": "hotseat.yaml", **schema}
