"""The image's tar: what is in it, that it is the same each time, and that the engine runs in it."""

from __future__ import annotations

import hashlib
import json
import os
import subprocess
import tarfile
from pathlib import Path

import pytest

from hotseat import native
from hotseat.demo import EngineSpec, image
from hotseat.errors import Failed, NotFound


@pytest.fixture(scope="module")
def tar(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return image.build(tmp_path_factory.mktemp("image") / "engine.tar")


def test_the_same_inputs_give_the_same_bytes(tar, tmp_path) -> None:
    os.utime(native.path("hotseat-demo-engine"))  # a new build of the same program
    again = image.build(tmp_path / "again.tar")
    assert hashlib.sha256(again.read_bytes()).digest() == hashlib.sha256(tar.read_bytes()).digest()
    assert list(tmp_path.iterdir()) == [again]


def test_it_holds_what_the_loader_needs_and_nothing_of_this_machine(tar) -> None:
    with tarfile.open(tar) as archive:
        entries = {entry.name: entry for entry in archive}
    assert image.PROGRAM[1:] in entries
    assert {"etc/passwd", "tmp", "proc", "dev"} <= set(entries)
    for library in image.libraries(native.path("hotseat-demo-engine")):
        assert "usr/" + str(library).lstrip("/").removeprefix("usr/") in entries
    assert not [name for name in entries if "libcuda" in name or "libnvidia" in name]
    assert {(e.uid, e.gid, e.uname, e.mtime) for e in entries.values()} == {(0, 0, "", 0)}
    order = list(entries)
    assert all(order.index(str(Path(name).parent)) < order.index(name) for name in order if "/" in name)


def test_mounts_lead_to_where_the_loader_looks(tmp_path) -> None:
    pairs = dict(image.mounts())
    assert set(pairs) == {str(native.path(name)) for name in image.LIBRARIES}
    assert {str(Path(target).parent) for target in pairs.values()} == {image.library_directory()}
    assert image.mounts(tmp_path)[0] == (f"{tmp_path}/libcuda.so.1", f"{image.library_directory()}/libcuda.so.1")


def test_changes_are_dockerfile_lines() -> None:
    [entrypoint] = image.changes()
    assert json.loads(entrypoint.removeprefix("ENTRYPOINT ")) == [image.PROGRAM]
    spec = EngineSpec(models=('a "b"',), port=9000)
    assert json.loads(image.changes(spec)[1].removeprefix("CMD ")) == spec.arguments()


def test_errors_say_what_to_do(tmp_path) -> None:
    text = tmp_path / "text"
    text.write_text("no program")
    with pytest.raises(Failed, match="ldd cannot read"):
        image.build(tmp_path / "x.tar", engine=text)
    with pytest.raises(NotFound, match="not part of this installation"):
        native.path("hotseat-other-engine")


@pytest.mark.root
def test_the_engine_runs_in_it_on_the_mounted_libraries(tar, tmp_path, node) -> None:
    """In a root file system made of the tar and the mounts alone, as a container engine would set it up."""
    root = tmp_path / "root"
    with tarfile.open(tar) as archive:
        archive.extractall(root, filter="fully_trusted")
    mounts = [*node.mounts(library_directory=image.library_directory())]
    assert {target for _, target in image.mounts()} < {target for _, target in mounts}
    setup = "".join(f"touch {root}{target}; mount --bind {source} {root}{target}; " for source, target in mounts)
    mine = f"mount -t proc proc {root}/proc; exec chroot {root} {image.PROGRAM} --hold 4MiB"
    process = subprocess.Popen(
        ["unshare", "--mount", "--pid", "--fork", "--kill-child", "sh", "-ec", setup + mine],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        env={"PATH": os.environ["PATH"]},
    )
    try:
        assert process.stdout is not None
        line = process.stdout.readline()
        assert "holding 4194304 bytes" in line, line + process.stdout.read()
        assert sum(node.report().used_bytes) >= 4 << 20
    finally:
        process.kill()
        process.communicate(timeout=30)
