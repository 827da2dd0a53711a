"""Whether a workload that hotseat makes runs with the interposer, and what it is given then."""

from __future__ import annotations

from hotseat import native
from hotseat.config import Store, Workload
from hotseat.errors import NotFound, Unavailable
from hotseat.gpu.preload import LIBRARY
from hotseat.platforms.interposed import Interposer, agents_of


def interposer_for(spec: Workload, store: Store) -> Interposer | None:
    """None: it runs without. `Unavailable`: it should have it and cannot.

    The directory of the agents is made where there is none yet: a store that comes later is found in it.
    """
    if not spec.made_here or spec.interposed is False or store.use == "off":
        return None
    needed, agents = spec.interposed is True, agents_of(store.control)
    try:
        if not needed and store.use == "auto" and not store.control.exists():
            return None
        library = native.path(LIBRARY)
        agents.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        agents.mkdir(mode=0o711, exist_ok=True)
    except (NotFound, OSError) as error:
        if not needed:
            return None
        raise Unavailable(
            f"it cannot run with the interposer: {error.message if isinstance(error, NotFound) else error}",
            rule="`interposed: true`",
            hint="correct that, or write `interposed: auto`",
        ) from error
    return Interposer(library=library, agents=agents)
