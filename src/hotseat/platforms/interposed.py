"""What a workload needs in order to run with the interposer: the library, the store's agents, two variables. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path

from hotseat.platforms.spec import Bind, ContainerSpec

LIBRARY = "libhotseat-interposer.so"
LIBRARY_INSIDE = f"/usr/lib/hotseat/{LIBRARY}"
AGENTS_INSIDE = "/run/hotseat/store/agents"
SOCKET = "store.sock"
"""Its name in the directory of the agents, on the host and inside."""
PRELOAD, STORE = "LD_PRELOAD", "HOTSEAT_STORE"


@dataclass(frozen=True, slots=True, kw_only=True)
class Interposer:
    """Where both are on this host."""

    library: Path
    agents: Path
    """The directory of the agents' socket, and nothing else: a mount of it leads to the next store's socket too."""

    def binds(self) -> tuple[Bind, ...]:
        """Read-only: a container that could put a socket of its own there would be handed others' memory."""
        return (
            Bind(source=self.library, target=LIBRARY_INSIDE, read_only=True),
            Bind(source=self.agents, target=AGENTS_INSIDE, read_only=True),
        )


def environment(library: str | Path, agents: str | Path, *, preloaded: str = "") -> dict[str, str]:
    """`preloaded`: what LD_PRELOAD is without it; that stays behind it."""
    return {PRELOAD: f"{library}:{preloaded}" if preloaded else str(library), STORE: f"{agents}/{SOCKET}"}


def interposed(spec: ContainerSpec, given: Interposer) -> ContainerSpec:
    """The same, with the interposer."""
    inside = bool(spec.image or spec.rootfs)
    where = (LIBRARY_INSIDE, AGENTS_INSIDE) if inside else (given.library, given.agents)
    added: Mapping[str, str] = environment(*where, preloaded=spec.env.get(PRELOAD, ""))
    return replace(spec, env={**spec.env, **added}, binds=(*spec.binds, *given.binds()) if inside else spec.binds)
