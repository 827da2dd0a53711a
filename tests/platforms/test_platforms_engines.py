"""The private engines of tests and demo: shared by counting, gone without a trace."""

from __future__ import annotations

import os
import tarfile
from collections.abc import Callable
from pathlib import Path

import pytest

from hotseat.errors import NotFound, PlatformFailed
from hotseat.linux import proc
from hotseat.testing import daemons, engines
from hotseat.testing.engines import TINY_IMAGE, DockerDaemon, PodmanServer


class Counted:
    """An engine that only counts."""

    def __init__(self) -> None:
        self.did: list[str] = []
        self.socket = Path("/nowhere")

    def start(self) -> None:
        self.did.append("start")

    def stop(self) -> None:
        self.did.append("stop")


def test_the_first_starts_and_the_last_stops(tmp_path: Path) -> None:
    engine = Counted()
    users = tmp_path / "users"
    with engines.shared(engine, users=users):
        with engines.shared(engine, users=users):
            assert engine.did == ["start"]
        assert engine.did == ["start"]
    assert engine.did == ["start", "stop"]
    with engines.shared(engine, users=users):
        pass
    assert engine.did == ["start", "stop", "start", "stop"]


def test_an_engine_that_does_not_start_is_not_counted(tmp_path: Path) -> None:
    class Broken(Counted):
        def start(self) -> None:
            raise PlatformFailed("no")

    for _ in range(2):
        with pytest.raises(PlatformFailed), engines.shared(Broken(), users=tmp_path / "users"):
            pytest.fail("not reached")


def test_the_tiny_image_runs_every_applet(tmp_path: Path) -> None:
    with tarfile.open(engines.tiny_image(tmp_path / "tiny.tar")) as tar:
        names = set(tar.getnames())
        assert {"bin/busybox", "bin/sh", "bin/sleep", "tmp", "proc"} <= names
        assert tar.getmember("bin/sh").linkname == "busybox"


def test_a_program_that_is_not_here(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(NotFound) as caught:
        daemons.program("no-such-engine", package="some-package")
    assert "apt-get install some-package" in caught.value.hint


def mounts_under(directory: Path) -> list[str]:
    return [line for line in Path("/proc/self/mountinfo").read_text().splitlines() if f" {directory}/" in line]


@pytest.mark.root
@pytest.mark.parametrize(
    "kind",
    [
        pytest.param(DockerDaemon, marks=pytest.mark.docker),
        pytest.param(PodmanServer, marks=pytest.mark.podman),
    ],
)
def test_nothing_is_left_behind(
    kind: Callable[..., DockerDaemon | PodmanServer],
    short_directory: Path,
    tiny_image: Path,
    unique: Callable[[str], str],
) -> None:
    engine = kind(directory=short_directory / unique("e"))
    engine.start()
    engines.load_image(engine, tiny_image)
    name = unique("left")
    engine.run("run", "--detach", "--name", name, "--network", "host", TINY_IMAGE, "sleep", "1000")
    engine.run("pause", name)
    pid = int(engine.run("inspect", "--format", "{{.State.Pid}}", name))
    identity = engine.run("inspect", "--format", "{{.Id}}", name).strip()
    daemon = daemons.daemon(engine.directory)
    assert mounts_under(engine.directory)
    assert daemon is not None
    engine.stop()
    assert not proc.refs([pid])
    assert not proc.refs([daemon.pid])
    assert not engine.directory.exists()
    assert mounts_under(engine.directory) == []
    left = [here for here, _, _ in os.walk("/sys/fs/cgroup") if identity in here or engine.directory.name in here]
    assert left == []
