"""What is on disk is counted while others remove files there."""

from __future__ import annotations

import mmap
import os
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from hotseat.store.digest import CHUNK
from hotseat.store.disk import Disk
from hotseat.store.spilled import SUFFIX


def test_a_file_that_is_removed_meanwhile_costs_nobody_his_spill(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    disk, listed = Disk(tmp_path / "spill", limit=64 * CHUNK), os.scandir

    def scandir(path: Any) -> Iterator[os.DirEntry[str]]:
        gone = Path(path) / f"gone{SUFFIX}"
        gone.write_bytes(b"x")
        entries = list(listed(path))
        gone.unlink()  # as the let go of another does in a thread
        return iter(entries)

    monkeypatch.setattr(os, "scandir", scandir)
    assert disk.used() == 0
    (placed,) = disk.write(
        f"a{SUFFIX}", [memoryview(mmap.mmap(-1, CHUNK))], stop=threading.Event(), progress=lambda part: None
    )
    assert placed.offset == 0
