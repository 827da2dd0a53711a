"""What the host and the cgroups leave a park to use, in both versions' files."""

from __future__ import annotations

import os
import uuid
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hotseat.linux import cgroup, memory, own_cgroup
from hotseat.linux.cgroup import Cgroup

NONE_V1 = 9223372036854771712


def level(path: Path, version: int, *, limit: int | None, used: int, inactive: int = 0) -> None:
    path.mkdir(exist_ok=True)
    if version == 1:
        (path / "memory.limit_in_bytes").write_text(f"{NONE_V1 if limit is None else limit}\n")
        (path / "memory.usage_in_bytes").write_text(f"{used}\n")
        (path / "memory.stat").write_text(f"cache 5\ninactive_file 1\ntotal_inactive_file {inactive}\n")
    else:
        (path / "memory.max").write_text(f"{'max' if limit is None else limit}\n")
        (path / "memory.current").write_text(f"{used}\n")
        (path / "memory.stat").write_text(f"anon 5\ninactive_file {inactive}\n")


def tree(top: Path, version: int, levels: list[tuple[int | None, int, int]]) -> Cgroup:
    path = top
    path.mkdir(exist_ok=True)
    for number, (limit, used, inactive) in enumerate(levels):
        path = path / f"level{number}"
        level(path, version, limit=limit, used=used, inactive=inactive)
    return Cgroup(path=path, version=version, top=top)


both = pytest.mark.parametrize("version", [1, 2])


@both
def test_no_limit_anywhere(tmp_path, version):
    found = memory.of_cgroup(tree(tmp_path / "top", version, [(None, 500, 0), (None, 100, 30)]))
    assert (found.limit, found.used) == (None, 70)


@both
def test_its_own_limit_less_what_the_kernel_reclaims_first(tmp_path, version):
    found = memory.of_cgroup(tree(tmp_path / "top", version, [(None, 500, 0), (1000, 400, 150)]))
    assert (found.limit, found.used) == (1000, 250)


@both
def test_a_limit_above_that_others_have_used_up_is_the_tighter_one(tmp_path, version):
    found = memory.of_cgroup(tree(tmp_path / "top", version, [(2000, 1900, 0), (1000, 100, 0)]))
    assert (found.limit, found.used) == (2000, 1900)


@both
def test_nothing_above_the_mount_point_is_read(tmp_path, version):
    level(tmp_path, version, limit=1, used=1)
    found = memory.of_cgroup(tree(tmp_path / "top", version, [(1000, 0, 0)]))
    assert found.limit == 1000


levels = st.lists(
    st.tuples(st.none() | st.integers(0, 10**12), st.integers(0, 10**12), st.integers(0, 10**12)),
    min_size=1,
    max_size=4,
)


@settings(deadline=None)
@given(levels, st.sampled_from([1, 2]))
def test_no_level_leaves_less_room_than_what_is_told(tmp_path_factory, chain, version):
    found = memory.of_cgroup(tree(tmp_path_factory.mktemp("cgroup") / "top", version, chain))
    rooms = [limit - max(0, used - inactive) for limit, used, inactive in chain if limit is not None]
    assert (found.limit is None) == (not rooms)
    if found.limit is not None:
        assert found.limit - found.used == min(rooms)
    assert found.available > 0


def test_the_host_has_memory_left():
    total = int(Path("/proc/meminfo").read_text().split()[1]) * 1024
    assert 0 < memory.available_bytes() < total
    assert 0 < memory.of_process(os.getpid()).available < total


def test_a_process_that_is_gone_has_no_limit():
    assert memory.of_process(2**22 + 1).limit is None


@pytest.mark.root
def test_a_limit_that_is_set_is_read_back(victim):
    made = own_cgroup.create(f"test-{uuid.uuid4().hex[:12]}")
    try:
        if not made.set_memory_limit(1 << 30):
            assert made.memory is None
            return
        doze = victim("doze")
        made.add(doze.pid)
        found = memory.of_process(doze.pid)
        assert found.limit is not None
        assert found.limit - found.used <= 1 << 30
        assert memory.of_cgroup(cgroup.of(doze.pid, controller="memory")).limit == found.limit
        made.set_memory_limit(None)
        assert memory.of_cgroup(made.memory).limit != 1 << 30
        doze.end()
    finally:
        while made.freezer.pids():
            pass
        made.remove()
