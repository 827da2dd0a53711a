"""Where daemons are looked for, and what is said when a socket must not be opened."""

from __future__ import annotations

import grp
import os
import socket
from collections.abc import Iterator
from pathlib import Path

import pytest

from hotseat.errors import Refused
from hotseat.platforms import sockets


@pytest.fixture
def listening(tmp_path: Path) -> Iterator[Path]:
    path = tmp_path / "here.sock"
    with socket.socket(socket.AF_UNIX) as server:
        server.bind(str(path))
        server.listen()
        yield path


def test_docker_host_alone_counts() -> None:
    env = {"DOCKER_HOST": "unix:///x/y.sock", "XDG_RUNTIME_DIR": "/run/user/7"}
    assert sockets.docker_candidates(env) == [Path("/x/y.sock")]


def test_docker_system_before_rootless() -> None:
    places = sockets.docker_candidates({"XDG_RUNTIME_DIR": "/run/user/7"})
    assert places == [Path("/var/run/docker.sock"), Path("/run/user/7/docker.sock")]
    assert sockets.docker_candidates({}) == [Path("/var/run/docker.sock")]


def test_podman_roots_for_root_and_ones_own_for_others(monkeypatch: pytest.MonkeyPatch) -> None:
    system, own = Path("/run/podman/podman.sock"), Path("/run/user/7/podman/podman.sock")
    env = {"XDG_RUNTIME_DIR": "/run/user/7"}
    monkeypatch.setattr(os, "geteuid", lambda: 0)
    assert sockets.podman_candidates(env) == [system, own]
    monkeypatch.setattr(os, "geteuid", lambda: 7)
    assert sockets.podman_candidates(env) == [own, system]
    assert sockets.podman_candidates({**env, "CONTAINER_HOST": "unix:///c.sock"}) == [Path("/c.sock")]


@pytest.mark.parametrize("host", ["tcp://10.0.0.1:2375", "ssh://root@there", "unix://", "nonsense"])
def test_daemons_elsewhere_are_refused(host: str) -> None:
    with pytest.raises(Refused, match="not a socket of this host") as caught:
        sockets.docker_candidates({"DOCKER_HOST": host})
    assert caught.value.rule == "local daemons only"
    assert "unset" in caught.value.hint


def test_the_first_that_listens_is_taken(tmp_path: Path, listening: Path) -> None:
    stale = tmp_path / "stale.sock"
    with socket.socket(socket.AF_UNIX) as server:
        server.bind(str(stale))
    assert sockets.first_listening([tmp_path / "none", stale, listening]) == listening
    assert sockets.first_listening([tmp_path / "none", stale]) is None


def test_the_hint_names_the_group(listening: Path) -> None:
    listening.chmod(0o660)
    assert f"group {grp.getgrgid(listening.stat().st_gid).gr_name}" in sockets.permission_hint(listening)


def test_the_hint_names_the_owner_where_no_group_helps(listening: Path) -> None:
    listening.chmod(0o600)
    assert "only" in sockets.permission_hint(listening)


@pytest.mark.root
def test_a_socket_that_must_not_be_opened_is_worth_an_error(listening: Path) -> None:
    """Seen from a child that gave up root: the permission is the kernel's to check."""
    listening.chmod(0o600)
    for directory in (listening.parent, *listening.parent.parents[:3]):
        if directory != Path("/tmp"):
            directory.chmod(0o755)
    reader, writer = os.pipe()
    child = os.fork()
    if child == 0:
        os.setgid(65534)
        os.setuid(65534)
        found = sockets.first_listening([listening.with_name("none"), listening])
        os.write(writer, str(found).encode())
        os._exit(0)
    os.close(writer)
    with os.fdopen(reader) as answer:
        assert answer.read() == str(listening)
    os.waitpid(child, 0)
