"""The node from outside: its files, who holds what, several devices, namespaces, users, the command line."""

from __future__ import annotations

import os
import stat
import subprocess
import sys
from pathlib import Path

import pytest
from click.testing import CliRunner
from conformance_actors import cycle

from hotseat import native
from hotseat.emulator import EmulatedNode
from hotseat.emulator.__main__ import main
from hotseat.errors import NotFound, UsageError

MIB = 1 << 20
NO_DEVICE, MISMATCH = 100, 803
pytestmark = pytest.mark.emulated


def cuinit(directory: str | Path, **env: str) -> tuple[int, int]:
    """(cuInit's result, number of devices) of a fresh process."""
    script = (
        "import ctypes, sys; cu = ctypes.CDLL(sys.argv[1]); n = ctypes.c_int(-1); "
        "print(cu.cuInit(0), cu.cuDeviceGetCount(ctypes.byref(n)) and -1 or n.value)"
    )
    command = [sys.executable, "-S", "-c", script, str(native.path("libcuda.so.1"))]
    env = os.environ | {"HOTSEAT_EMULATOR_DIR": str(directory)} | env
    out = subprocess.run(command, env=env, capture_output=True, text=True, check=True, timeout=20).stdout.split()
    return int(out[0]), int(out[1])


def test_report_tells_who_holds_what(node, target):
    target.fill(8)
    report = node.report()
    assert report.device_bytes == (256 * MIB, 256 * MIB)
    assert report.used_bytes == (24 * MIB, 0)
    (process,) = report.processes
    assert (process.pid, process.bytes, process.state, process.lost) == (target.pid, {0: 24 * MIB}, "running", False)
    assert process.pid_namespace == os.stat("/proc/self/ns/pid").st_ino


def test_small_allocations_share_a_granule(node, target):
    for _ in range(100):
        assert target.alloc(10_000)[0] == 0
    assert node.report().used_bytes[0] == 16 * MIB + 2 * MIB


def test_capacity_is_enforced_across_processes(node, target, start):
    other = start("Target")
    other.hello()
    assert target.alloc_only(150)[0] == 0
    assert other.alloc_only(150)[0] == 2
    assert other.alloc_only(60)[0] == 0
    assert other.info()[1] == (256 - 150 - 60 - 2 * 16) * MIB


def test_memory_of_a_killed_process_is_there_for_the_next(node, target, start):
    assert target.fill(200)[0] == 0
    target.kill()
    other = start("Target")
    other.hello()
    assert other.fill(230)[0] == 0


def test_pages_go_back_to_the_host(node, target, control):
    target.fill(64)
    file = node.directory / "nvidia0"
    assert file.stat().st_blocks * 512 >= 64 * MIB
    cycle(control, target.pid, ("lock", "checkpoint"))
    assert file.stat().st_blocks * 512 < 8 * MIB


def test_restore_on_another_device(node, target, control, start):
    """The process goes on seeing one device 0, which is another one now."""
    nvml = start("Watcher")
    _, address = target.fill(16)
    before = target.sum(address, 16)
    first, second = (bytes.fromhex(uuid.removeprefix("GPU-").replace("-", "")) for uuid in node.uuids())
    cycle(control, target.pid, ("lock", "checkpoint"))
    assert control.restore_args(target.pid, ((first, second), (second, first))) == 0
    assert control.unlock(target.pid) == 0
    assert node.report().used_bytes == (0, 32 * MIB)
    assert target.sum(address, 16) == before
    assert target.uuid() == (0, second)
    assert nvml.processes()[1] == {}  # of device 0


@pytest.mark.parametrize(("visible", "count"), [("0", 1), ("1,0", 2), ("", 0), ("7", 0), ("1,9,0", 1)])
def test_visible_devices(node, visible, count):
    result, found = cuinit(node.directory, CUDA_VISIBLE_DEVICES=visible)
    assert (result, found) == ((0, count) if count else (NO_DEVICE, -1))


def test_visible_device_by_uuid(node):
    assert cuinit(node.directory, CUDA_VISIBLE_DEVICES=node.uuids()[1]) == (0, 1)


def test_only_devices_whose_file_is_there(node):
    (node.directory / "nvidia0").unlink()
    assert cuinit(node.directory) == (0, 1)


def test_no_node_no_device(tmp_path):
    assert cuinit(tmp_path) == (NO_DEVICE, -1)


def test_a_real_driver_is_left_alone(tmp_path):
    """A character device where the control file would be: not ours, not even opened."""
    (tmp_path / "nvidiactl").symlink_to("/dev/null")
    assert cuinit(tmp_path) == (NO_DEVICE, -1)


def test_a_node_of_another_version_is_refused(node):
    with (node.directory / "nvidiactl").open("r+b") as file:
        file.seek(8)
        file.write(b"\xff")
    assert cuinit(node.directory)[0] == MISMATCH
    with pytest.raises(UsageError):
        EmulatedNode(node.directory)


def test_files_are_for_every_user(node):
    for file in node.directory.iterdir():
        assert stat.S_IMODE(file.stat().st_mode) == 0o666


def test_directory_without_a_node(tmp_path):
    with pytest.raises(NotFound):
        EmulatedNode(tmp_path)


@pytest.mark.parametrize("sizes", [[], [1], [2 << 20] * 17])
def test_impossible_devices(tmp_path, sizes):
    with pytest.raises(UsageError):
        EmulatedNode.create(tmp_path, devices=sizes)


def test_a_node_is_not_overwritten(node):
    with pytest.raises(UsageError):
        EmulatedNode.create(node.directory, devices=[2 << 20])


def test_preallocated_pages_stay(tmp_path, start):
    made = EmulatedNode.create(tmp_path / "n", devices=[64 * MIB], preallocate=True)
    app = start("Target", env=made.environment())
    app.hello()
    app.fill(16)
    app.kill()
    other = start("Target", env=made.environment())
    assert other.fill(40)[0] == 0
    assert (made.directory / "nvidia0").stat().st_blocks * 512 == 64 * MIB
    made.remove()
    assert not made.directory.exists()


def test_mounts_name_the_files_and_the_libraries(node):
    pairs = dict(reversed(pair) for pair in node.mounts(devices=[1], library_directory="/lib"))
    assert sorted(pairs) == ["/dev/nvidia1", "/dev/nvidiactl", "/lib/libcuda.so.1", "/lib/libnvidia-ml.so.1"]
    assert all(Path(source).is_file() for source in pairs.values())


@pytest.mark.root
def test_across_pid_namespaces_and_users(node, start, control):
    """A process in a pid namespace of its own, as another user, is parked and seated from outside by its host pid."""
    drop = ("setpriv", "--reuid=65534", "--regid=65534", "--clear-groups")
    inner = start("Target", prefix=("unshare", "--pid", "--fork", "--kill-child", "--mount-proc", *drop))
    assert inner.hello() == 0
    _, address = inner.fill(8)
    before = inner.sum(address, 8)
    children = Path(f"/proc/{inner.pid}/task/{inner.pid}/children").read_text().split()
    host_pid = int(children[0])
    (process,) = (p for p in node.report().processes if p.bytes)
    assert process.pid == 1
    assert start("Watcher").processes()[1] == {host_pid: 24 * MIB}
    result, tid = control.tid(host_pid)
    assert result == 0
    assert tid in [int(t) for t in os.listdir(f"/proc/{host_pid}/task")]
    assert cycle(control, host_pid) == [0, 0, 0, 0]
    assert inner.sum(address, 8) == before


@pytest.mark.root
def test_in_a_container_by_bind_mounts_alone(node, tmp_path):
    """No environment: the files at /dev, as a container gets them."""
    places = [(outer, tmp_path / Path(inner).name) for outer, inner in node.mounts()[:2]]
    binds = "".join(f"touch {place} && mount --bind {outer} {place} && " for outer, place in places)
    probe = (
        "import ctypes, sys; cu = ctypes.CDLL(sys.argv[1]); n = ctypes.c_int(); "
        "print(cu.cuInit(0), cu.cuDeviceGetCount(ctypes.byref(n)), n.value)"
    )
    inside = f'mount -t tmpfs none {tmp_path} && {binds}mount --move {tmp_path} /dev && exec "$@"'
    env = {name: value for name, value in os.environ.items() if name != "HOTSEAT_EMULATOR_DIR"}
    command = ["unshare", "--mount", "sh", "-c", inside, "sh", sys.executable, "-S", "-c", probe]
    command.append(str(native.path("libcuda.so.1")))
    done = subprocess.run(command, env=env, capture_output=True, text=True, timeout=20, check=False)
    assert done.stdout == "0 0 1\n", done.stderr


def test_command_line(tmp_path):
    run = CliRunner().invoke
    directory = str(tmp_path / "n")
    made = run(main, ["create", directory, "--device", "64MiB", "--device", "0.125GiB"])
    assert made.exit_code == 0, made.output
    assert f"export HOTSEAT_EMULATOR_DIR={directory}" in made.output
    assert EmulatedNode(directory).report().device_bytes == (64 * MIB, 128 * MIB)
    assert run(main, ["faults", "set", directory, "oom-restore", "--times", "0"]).output == "0\n"
    assert "oom-restore" in run(main, ["show", directory]).output
    assert "until cleared" in run(main, ["faults", "list", directory]).output
    assert run(main, ["faults", "clear", directory]).exit_code == 0
    assert run(main, ["faults", "list", directory]).output == ""
    assert run(main, ["create", str(tmp_path / "m"), "--device", "many"]).exit_code == 2


def test_command_line_says_what_to_do(tmp_path):
    command = [sys.executable, "-m", "hotseat.emulator", "show", str(tmp_path)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=20, check=False)
    assert done.returncode == 3
    assert "hotseat.emulator create" in done.stderr
