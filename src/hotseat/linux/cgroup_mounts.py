"""Where cgroups lie: pure parsing of /proc/PID/cgroup and mountinfo, cgroups(7). No I/O but in `read_mounts`.

A host has version 1 hierarchies, each with some controllers, or the version 2 tree, or both ("hybrid").
Paths in /proc/PID/cgroup are relative to the reader's cgroup namespace, mounts may show a part of a hierarchy only.
"""

from __future__ import annotations

import enum
import re
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import NamedTuple

from hotseat.linux import proc

V2 = ""
"""The version 2 tree, where a controller's name stands."""


class Layout(enum.StrEnum):
    V1 = "v1"
    V2 = "v2"
    HYBRID = "hybrid"
    NONE = "none"


class Mount(NamedTuple):
    version: int
    controllers: frozenset[str]
    """Version 1: its controllers, "name=systemd" among them. Version 2: empty, the tree itself tells."""
    root: str
    """Which cgroup of the hierarchy the mount point shows; "/" for all of it."""
    point: str


def parse_mountinfo(text: str) -> tuple[Mount, ...]:
    out = []
    for line in text.splitlines():
        before, separator, after = line.partition(" - ")
        left, right = before.split(" "), after.split(" ")
        if not separator or len(left) < 5 or len(right) < 3 or right[0] not in {"cgroup", "cgroup2"}:
            continue
        options = frozenset(right[2].split(","))
        version = 2 if right[0] == "cgroup2" else 1
        out.append(
            Mount(
                version=version,
                controllers=options if version == 1 else frozenset(),
                root=_unescape(left[3]),
                point=_unescape(left[4]),
            )
        )
    return tuple(out)


def parse_membership(text: str) -> dict[str, str]:
    """/proc/PID/cgroup: controller -> path; the version 2 tree stands under `V2`."""
    out = {}
    for line in text.splitlines():
        number, colon, rest = line.partition(":")
        controllers, colon2, path = rest.partition(":")
        if colon and colon2 and number.isdigit():
            # Removed while a zombie was in it: the kernel says so behind the path.
            clean = path.removesuffix(" (deleted)")
            for controller in controllers.split(",") if controllers else [V2]:
                out[controller] = clean
    return out


def layout(mounts: Iterable[Mount]) -> Layout:
    versions = {mount.version for mount in mounts}
    return {
        frozenset(): Layout.NONE,
        frozenset({1}): Layout.V1,
        frozenset({2}): Layout.V2,
    }.get(frozenset(versions), Layout.HYBRID)


def locate(mounts: Iterable[Mount], membership: Mapping[str, str], controller: str) -> tuple[Path, Mount] | None:
    """The directory of a member's cgroup in the hierarchy of `controller`, and the mount that shows it.

    None where no mount has the controller or none shows that cgroup (it lies outside of our cgroup namespace).
    """
    path = membership.get(controller)
    if path is None:
        return None
    for mount in mounts:
        if (controller == V2) != (mount.version == 2) or (controller != V2 and controller not in mount.controllers):
            continue
        root = mount.root.rstrip("/")
        if path == root or path.startswith(root + "/"):
            relative = path[len(root) :].lstrip("/")
            if ".." not in relative.split("/"):
                return Path(mount.point) / relative, mount
    return None


def read_mounts() -> tuple[Mount, ...]:
    return parse_mountinfo((proc.read(f"{proc.PROC}/self/mountinfo") or b"").decode(errors="surrogateescape"))


def _unescape(name: str) -> str:
    """mountinfo writes space, tab, newline and backslash as \\ooo."""
    return re.sub(r"\\([0-7]{3})", lambda match: chr(int(match[1], 8)), name)
