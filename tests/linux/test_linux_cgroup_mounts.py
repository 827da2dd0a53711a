"""Where a cgroup's directory is, on every layout that hosts have."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hotseat.linux.cgroup_mounts import (
    V2,
    Layout,
    Mount,
    layout,
    locate,
    parse_membership,
    parse_mountinfo,
    read_mounts,
)

PURE_V2 = "31 23 0:28 / /sys/fs/cgroup rw,nosuid shared:4 - cgroup2 cgroup2 rw,nsdelegate\n"
HYBRID = """\
31 23 0:28 / /sys/fs/cgroup rw,relatime - tmpfs tmpfs rw,mode=755
37 31 0:34 / /sys/fs/cgroup/freezer rw,relatime - cgroup cgroup rw,freezer
33 31 0:30 / /sys/fs/cgroup/cpu,cpuacct rw,relatime shared:2 - cgroup cgroup rw,cpu,cpuacct
40 31 0:37 / /sys/fs/cgroup/systemd rw,relatime - cgroup cgroup rw,xattr,name=systemd
41 31 0:38 / /sys/fs/cgroup/unified rw,relatime - cgroup2 cgroup2 rw
"""
BIND = "900 899 0:34 /docker/4f1c /sys/fs/cgroup/freezer ro,nosuid - cgroup cgroup rw,freezer\n"


def test_layouts():
    assert layout(parse_mountinfo(PURE_V2)) is Layout.V2
    assert layout(parse_mountinfo(HYBRID)) is Layout.HYBRID
    assert layout(parse_mountinfo(BIND)) is Layout.V1
    assert layout(parse_mountinfo("")) is Layout.NONE


@pytest.mark.parametrize(
    ("mounts", "membership", "controller", "expected"),
    [
        (PURE_V2, "0::/system.slice/docker-4f1c.scope\n", V2, "/sys/fs/cgroup/system.slice/docker-4f1c.scope"),
        (PURE_V2, "0::/\n", V2, "/sys/fs/cgroup"),
        (PURE_V2, "0::/a\n", "freezer", None),
        (HYBRID, "8:freezer:/docker/4f1c\n0::/\n", "freezer", "/sys/fs/cgroup/freezer/docker/4f1c"),
        (HYBRID, "8:freezer:/docker/4f1c\n0::/x y\n", V2, "/sys/fs/cgroup/unified/x y"),
        (HYBRID, "2:cpu,cpuacct:/a:b\n", "cpuacct", "/sys/fs/cgroup/cpu,cpuacct/a:b"),
        (HYBRID, "9:name=systemd:/u\n", "name=systemd", "/sys/fs/cgroup/systemd/u"),
        (HYBRID, "5:memory:/docker\n", "memory", None),
        (BIND, "8:freezer:/docker/4f1c\n", "freezer", "/sys/fs/cgroup/freezer"),
        (BIND, "8:freezer:/docker/4f1c/inner\n", "freezer", "/sys/fs/cgroup/freezer/inner"),
        (BIND, "8:freezer:/docker/4f1cabc\n", "freezer", None),
        (BIND, "8:freezer:/\n", "freezer", None),
        (PURE_V2, "0::/../sibling\n", V2, None),
        (PURE_V2, "0::/gone (deleted)\n", V2, "/sys/fs/cgroup/gone"),
    ],
)
def test_the_directory_of_a_cgroup(mounts, membership, controller, expected):
    found = locate(parse_mountinfo(mounts), parse_membership(membership), controller)
    assert (found and found[0]) == (expected and Path(expected))


def test_mount_points_with_blanks_are_unescaped():
    (mount,) = parse_mountinfo(r"41 31 0:38 /a\134b /mnt/c\040g\011x rw - cgroup2 none rw")
    assert mount == Mount(version=2, controllers=frozenset(), root="/a\\b", point="/mnt/c g\tx")


def test_this_host_has_cgroups_and_we_are_in_them():
    membership = parse_membership(Path("/proc/self/cgroup").read_text())
    for mount in read_mounts():
        controller = V2 if mount.version == 2 else next(iter(mount.controllers & membership.keys()))
        path, _ = locate(read_mounts(), membership, controller)
        assert (path / "cgroup.procs").is_file()


@settings(deadline=None)
@given(st.text())
def test_rubbish_is_no_mount_and_no_member(text):
    assert all(isinstance(mount, Mount) for mount in parse_mountinfo(text))
    assert all(isinstance(path, str) for path in parse_membership(text).values())


segments = st.text(st.characters(codec="ascii", exclude_characters="/\n\0", min_codepoint=33), min_size=1, max_size=8)
paths = st.lists(segments.filter(lambda part: part not in {".", ".."}), max_size=4).map(
    lambda parts: "/" + "/".join(parts)
)


@settings(deadline=None)
@given(paths, paths)
def test_a_path_below_the_mount_root_is_found_below_the_mount_point(root, below):
    mount = Mount(version=2, controllers=frozenset(), root=root, point="/mnt")
    path = (root.rstrip("/") + below).rstrip("/") or "/"
    assert locate([mount], {V2: path}, V2) == (Path("/mnt" + below), mount)
