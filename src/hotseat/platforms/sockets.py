"""Where the daemons listen on this host. Reads the environment and the file system, connects to nothing but sockets."""

from __future__ import annotations

import grp
import os
import pwd
import socket
from collections.abc import Iterable, Mapping
from pathlib import Path

from hotseat.errors import Refused


def docker_candidates(env: Mapping[str, str]) -> list[Path]:
    """DOCKER_HOST alone if it is set, else the system's daemon, then the user's own (rootless)."""
    if host := env.get("DOCKER_HOST"):
        return [_unix(host, variable="DOCKER_HOST")]
    return [Path("/var/run/docker.sock"), *_runtime(env, "docker.sock")]


def podman_candidates(env: Mapping[str, str]) -> list[Path]:
    """CONTAINER_HOST alone if it is set; else root's for root, the user's own first for others."""
    if host := env.get("CONTAINER_HOST"):
        return [_unix(host, variable="CONTAINER_HOST")]
    system = [Path("/run/podman/podman.sock")]
    own = _runtime(env, "podman/podman.sock")
    return [*system, *own] if os.geteuid() == 0 else [*own, *system]


def first_listening(candidates: Iterable[Path]) -> Path | None:
    """The first socket that accepts a connection, or that exists and must not be opened by us (worth an error)."""
    forbidden = None
    for path in candidates:
        with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as probe:
            probe.settimeout(1.0)
            try:
                probe.connect(str(path))
            except PermissionError:
                forbidden = forbidden or path
            except OSError:
                continue
            else:
                return path
    return forbidden


def permission_hint(path: Path) -> str:
    """Which group opens this socket, or that only its owner can."""
    try:
        status = path.stat()
    except OSError:
        return f"run as root, or as the user who owns {path}"
    owner = pwd.getpwuid(status.st_uid).pw_name if _known_user(status.st_uid) else str(status.st_uid)
    if not status.st_mode & 0o060:
        return f"only {owner} may open it: run hotseat as {owner}"
    try:
        group = grp.getgrgid(status.st_gid).gr_name
    except KeyError:
        group = str(status.st_gid)
    return f"run as {owner}, or join the group {group}: `sudo usermod -aG {group} $USER`, then log in again"


def _known_user(uid: int) -> bool:
    try:
        pwd.getpwuid(uid)
    except KeyError:
        return False
    return True


def _runtime(env: Mapping[str, str], name: str) -> list[Path]:
    directory = env.get("XDG_RUNTIME_DIR")
    return [Path(directory) / name] if directory else []


def _unix(host: str, *, variable: str) -> Path:
    scheme, _, rest = host.partition("://")
    if scheme != "unix" or not rest:
        raise Refused(
            f"{variable}={host} is not a socket of this host",
            rule="local daemons only",
            hint="hotseat freezes processes of this host: run it there, or set "
            f"{variable}=unix:///path/of/the.sock, or unset it",
        )
    return Path(rest)
