"""`store`: the snapshot store of this node, for the daemon and for `hotseat store run` alike."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BeforeValidator, Field

from hotseat.config import paths
from hotseat.config.base import Model, Wrong
from hotseat.config.units import Size


def _use(value: Any) -> Any:
    # YAML 1.1 reads a bare `on` as true and `off` as false.
    return {True: "on", False: "off"}.get(value, value) if isinstance(value, bool) else value


def _auto_or_bool(value: Any) -> Any:
    return value if isinstance(value, bool) or value == "auto" else _refuse()


def _refuse() -> Any:
    raise Wrong("no choice", "write true, false or auto")


def _rights(value: Any) -> Any:
    if not isinstance(value, str) or not re.fullmatch(r"0?[0-7]{3}", value):
        raise Wrong("no rights of a file", 'write them in quotes, such as "600" or "666"')
    return value


def _control(value: Path) -> Path:
    if value.name != "control.sock":
        raise Wrong("the socket of a store is called control.sock", "choose its directory, and end in /control.sock")
    return value


def _not_empty(value: int) -> int:
    if value < 2 << 20:
        raise Wrong("an arena is at least 2MiB", 'write for example "64GiB"')
    return value


Interposed = Annotated[bool | Literal["auto"], BeforeValidator(_auto_or_bool)]


class Store(Model):
    """The snapshot store: parked device memory in pinned host memory, see docs/store.md."""

    use: Annotated[Literal["auto", "on", "off"], BeforeValidator(_use)] = "auto"
    """`auto`: what hotseat makes runs with the interposer where a store is there. `on`: also where none is there yet.
    `off`: no store is asked, and nothing runs with the interposer."""
    control: Annotated[Path, AfterValidator(_control)] = Field(default_factory=paths.store_socket)
    """The store's control socket. Default: /run/hotseat/store/control.sock, or below $XDG_RUNTIME_DIR."""
    arena: Annotated[Size, AfterValidator(_not_empty)] | None = None
    """Host memory that `hotseat store run` takes for what is parked, if its command line does not say. Not
    given: learned from what is parked, within the host's memory."""
    compare: bool = False
    """`hotseat store run` compares bytes where digests are equal."""
    custom_storage: bool = False
    """`hotseat store run` also moves processes without the interposer, by the custom storage of driver 615. It has
    never run on a GPU."""
    spill: Path | None = None
    """Directory of its own on a local disk, to which what is parked may go when host memory is short."""
    spill_limit: Size | None = None
    """Of that disk, at most. Not given: all of it."""
    agents_mode: Annotated[str, BeforeValidator(_rights)] = "600"
    """Rights of the socket that workloads reach. `"666"`: also containers that do not run as the store's user."""
