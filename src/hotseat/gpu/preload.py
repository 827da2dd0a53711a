"""Whether a process has the interposer's library, and if not, what keeps it out. Reads /proc alone."""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from hotseat import native
from hotseat.errors import NotFound
from hotseat.gpu.inspect import is_static
from hotseat.words import ProcessRef

LIBRARY = "libhotseat-interposer.so"
PRELOAD, STORE = "LD_PRELOAD", "HOTSEAT_STORE"
"""The variables that a process gets it by."""
_LIBC = re.compile(r"(?:libc\.so\.6|libc-2\.\d+\.so)$")
_MUSL = re.compile(r"/(?:ld-musl-[^/]+|libc\.musl-[^/]+)\.so\.1$")
_RELEASE = re.compile(rb"GNU C Library [^\n]{0,80}release version (\d+\.\d+)")
_SYMBOLS = re.compile(rb"\0GLIBC_(\d+\.\d+)(?=\0)")
_MOST = 1024
"""Processes that are remembered."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Preload:
    """One process. What could not be read is False or ""."""

    loaded: bool = False
    named: bool = False
    """It was started with an LD_PRELOAD that names it."""
    store: bool = False
    """It was started with HOTSEAT_STORE."""
    static: bool = False
    libc: str = ""
    """"musl", or the release of glibc: "2.36"."""

    def obstacle(self) -> str:
        """What keeps the library out of it, whoever would start it how; or nothing."""
        if self.static:
            return "is a static binary, into which nothing can be preloaded"
        if self.libc == "musl":
            return "runs on musl, and the interposer needs glibc"
        needed = needed_glibc()
        if self.libc and needed and _number(self.libc) < _number(needed):
            return f"has glibc {self.libc}, and the interposer needs {needed}"
        return ""

    def why_not(self) -> str:
        """Why it is not loaded, in words that go on from the process."""
        if obstacle := self.obstacle():
            return obstacle
        if self.named:
            return "was started with the interposer in LD_PRELOAD, and its loader did not take it: its log says why"
        return "was started without the interposer"


def read(ref: ProcessRef, *, proc: Path = Path("/proc")) -> Preload:
    """Of one that has ended: nothing at all."""
    here = proc / str(ref.pid)
    paths = _mapped(here / "maps")
    environment = _environment(here / "environ")
    return Preload(
        loaded=any(path.endswith("/" + LIBRARY) for path in paths),
        named=LIBRARY in environment.get(PRELOAD, ""),
        store=STORE in environment,
        static=bool(is_static(here / "exe")),
        libc=_libc(paths, root=here / "root"),
    )


class Preloads:
    """`read`, once a process: what is preloaded into it does not change while it lives."""

    def __init__(self) -> None:
        self._known: dict[ProcessRef, Preload] = {}

    def __call__(self, processes: Collection[ProcessRef]) -> Mapping[ProcessRef, Preload]:
        if len(self._known) > _MOST:
            self._known.clear()
        for ref in processes:
            if ref not in self._known:
                self._known[ref] = read(ref)
        return {ref: self._known[ref] for ref in processes}


@cache
def needed_glibc() -> str:
    """By this installation's library; "" where there is none."""
    try:
        found = _SYMBOLS.findall(native.path(LIBRARY).read_bytes())
    except (NotFound, OSError):
        return ""
    return max((text.decode() for text in found), key=_number, default="")


def _number(release: str) -> tuple[int, ...]:
    return tuple(int(part) for part in release.split("."))


def _mapped(maps: Path) -> set[str]:
    """Files in its address space."""
    try:
        lines = maps.read_text(errors="replace").splitlines()
    except OSError:
        return set()
    fields = (line.split(maxsplit=5) for line in lines)
    return {parts[5].removesuffix(" (deleted)") for parts in fields if len(parts) == 6}


def _environment(environ: Path) -> dict[str, str]:
    try:
        text = environ.read_text(errors="replace")
    except OSError:
        return {}
    pairs = (item.partition("=") for item in text.split("\0"))
    return {name: value for name, _, value in pairs if name in (PRELOAD, STORE)}


def _libc(paths: Collection[str], *, root: Path) -> str:
    if any(_MUSL.search(path) for path in paths):
        return "musl"
    for path in paths:
        if _LIBC.search(path):
            try:
                found = _RELEASE.search((root / path.lstrip("/")).read_bytes())
            except OSError:
                return ""
            return found[1].decode() if found else ""
    return ""
