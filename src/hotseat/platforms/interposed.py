"""What a workload needs in order to run with the interposer: the library, the store's agents, two variables. Pure."""

from __future__ import annotations

import platform
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path, PurePath

from hotseat.gpu.preload import LIBRARY, PRELOAD, STORE
from hotseat.platforms.spec import Bind, ContainerSpec
from hotseat.store.port import AGENTS

_INSIDE = "/usr/lib/hotseat"
LIBRARY_INSIDE = f"{_INSIDE}/$LIB/{LIBRARY}"
"""glibc's loader puts its own word for $LIB (ld.so(8)). musl's knows no such words, finds no file, and goes on without;
a library that it found and could not link would end every program of an Alpine image."""
_WORDS = ("lib64", "lib")
"""For $LIB: of Red Hat and SUSE; of Arch and Nix. Debian's and Ubuntu's names the machine."""
AGENTS_INSIDE = "/run/hotseat/store/agents"


@dataclass(frozen=True, slots=True, kw_only=True)
class Interposer:
    """Where both are on this host."""

    library: Path
    agents: Path
    """The directory of the agents' socket, and nothing else: a mount of it leads to the next store's socket too."""

    def binds(self) -> tuple[Bind, ...]:
        """Read-only: a container that could put a socket of its own there would be handed others' memory."""
        words = (f"lib/{platform.machine()}-linux-gnu", *_WORDS)
        targets = [LIBRARY_INSIDE.replace("$LIB", word) for word in words]
        return (
            *(Bind(source=self.library, target=target, read_only=True) for target in targets),
            Bind(source=self.agents, target=AGENTS_INSIDE, read_only=True),
        )


def agents_of(control: Path) -> Path:
    """The directory of the agents of the store with this control socket."""
    return (control.parent / AGENTS).parent


def environment(library: str | Path, agents: str | Path, *, preloaded: str = "") -> dict[str, str]:
    """`preloaded`: what LD_PRELOAD is without it; that stays behind it."""
    return {
        PRELOAD: f"{library}:{preloaded}" if preloaded else str(library),
        STORE: f"{agents}/{PurePath(AGENTS).name}",
    }


def interposed(spec: ContainerSpec, given: Interposer, *, preloaded: str = "") -> ContainerSpec:
    """The same, with the interposer. `preloaded`: LD_PRELOAD as its image has it, where `spec` says nothing."""
    inside = bool(spec.image or spec.rootfs)
    where = (LIBRARY_INSIDE, AGENTS_INSIDE) if inside else (given.library, given.agents)
    added: Mapping[str, str] = environment(*where, preloaded=spec.env.get(PRELOAD, preloaded))
    return replace(spec, env={**spec.env, **added}, binds=(*spec.binds, *given.binds()) if inside else spec.binds)
