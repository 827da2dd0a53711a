"""The modules that every request passes through, compiled by mypyc where `make build` could do that.

The .py files are the source, and run wherever the compiled ones do not fit: another interpreter, HOTSEAT_COMPILED=0, or
a source that was changed since, of theirs or of what they import. It is all of them or none, as they call each other
past the interpreter.
"""

from __future__ import annotations

import importlib.util
import os
import sys
from collections.abc import Sequence
from importlib.abc import MetaPathFinder
from importlib.machinery import EXTENSION_SUFFIXES, ExtensionFileLoader, ModuleSpec
from pathlib import Path
from types import ModuleType

PACKAGE = Path(__file__).parent
COMPILED = PACKAGE / "_native" / "hotpath"
SHARED = "hotseat_hotpath__mypyc"
"""What they all call."""
PLACES = ("hotseat.gateway.", "hotseat.daemon.", "hotseat.metrics.", "hotseat.scheduler.", SHARED)


class Finder(MetaPathFinder):
    """Looks for them when the first is imported: most commands need none."""

    def __init__(self) -> None:
        self._found: dict[str, Path] | None = None
        self._why = ""

    @property
    def why(self) -> str:
        """Why the sources run; empty if the compiled modules do."""
        self._look()
        return self._why

    def find_spec(
        self, fullname: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        if not fullname.startswith(PLACES):
            return None
        library = self._look().get(fullname)
        if library is None:
            return None
        return importlib.util.spec_from_file_location(
            fullname, library, loader=ExtensionFileLoader(fullname, str(library))
        )

    def _look(self) -> dict[str, Path]:
        if self._found is None:
            self._found, self._why = libraries()
        return self._found


def libraries(compiled: Path = COMPILED, package: Path = PACKAGE) -> tuple[dict[str, Path], str]:
    """By module; or none, and why: they are not there or do not fit."""
    if os.environ.get("HOTSEAT_COMPILED") == "0":
        return {}, "HOTSEAT_COMPILED=0"
    import json  # only where it is needed: the command's start is short

    try:
        made = json.loads((compiled / "sources.json").read_bytes())
        if why := made.get("why"):
            return {}, str(why)
        for name, known in made["sources"].items():
            if importlib.util.source_hash((package.parent / name).read_bytes()).hex() != known:
                return {}, f"{name} was changed since they were compiled; make build compiles them"
        found = {name: compiled / file for name, file in made["libraries"].items()}
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        return {}, f"no compiled modules here ({type(error).__name__}: {error}); make build compiles them"
    for library in found.values():
        if not (str(library).endswith(EXTENSION_SUFFIXES[0]) and library.is_file()):
            return {}, f"they were compiled for another Python than this one ({library.name}); make build compiles them"
    return found, ""


finder = Finder()


def install() -> None:
    """From now on their imports find the compiled ones."""
    sys.meta_path.insert(0, finder)
