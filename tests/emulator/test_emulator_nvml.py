"""NVML through nvidia-ml-py, the library that hotseat uses."""

from __future__ import annotations

import json
import os
import subprocess
import sys

import pytest

MIB = 1 << 20
pytestmark = pytest.mark.emulated

SCRIPT = """
import json, pynvml as n
n.nvmlInit()
def facts(i):
    h = n.nvmlDeviceGetHandleByIndex(i)
    m, m2 = n.nvmlDeviceGetMemoryInfo(h), n.nvmlDeviceGetMemoryInfo(h, version=n.nvmlMemory_v2)
    return {
        "name": n.nvmlDeviceGetName(h), "uuid": n.nvmlDeviceGetUUID(h), "index": n.nvmlDeviceGetIndex(h),
        "minor": n.nvmlDeviceGetMinorNumber(h), "mig": n.nvmlDeviceGetMigMode(h),
        "compute_mode": n.nvmlDeviceGetComputeMode(h), "memory": [m.total, m.free, m.used],
        "memory2": [m2.total, m2.free, m2.used, m2.reserved],
        "processes": {p.pid: p.usedGpuMemory for p in n.nvmlDeviceGetComputeRunningProcesses(h)},
        "processes2": {p.pid: p.usedGpuMemory for p in n.nvmlDeviceGetComputeRunningProcesses_v2(h)},
        "graphics": n.nvmlDeviceGetGraphicsRunningProcesses(h),
        "utilization": [n.nvmlDeviceGetUtilizationRates(h).gpu, n.nvmlDeviceGetUtilizationRates(h).memory],
        "capability": n.nvmlDeviceGetCudaComputeCapability(h), "bus": n.nvmlDeviceGetPciInfo(h).busId,
        "by_uuid": n.nvmlDeviceGetIndex(n.nvmlDeviceGetHandleByUUID(n.nvmlDeviceGetUUID(h))),
    }
out = [n.nvmlSystemGetDriverVersion(), n.nvmlSystemGetCudaDriverVersion(), n.nvmlSystemGetNVMLVersion()]
out += [facts(i) for i in range(n.nvmlDeviceGetCount())]
try:
    n.nvmlDeviceGetHandleByIndex(9)
except n.NVMLError as error:
    out.append(str(error))
n.nvmlShutdown()
print(json.dumps(out))
"""


def ask(node, script=SCRIPT):
    command = [sys.executable, "-c", script]
    env = os.environ | node.environment()
    return subprocess.run(command, env=env, capture_output=True, text=True, timeout=30, check=True).stdout


def test_everything_hotseat_asks(node, target):
    target.fill(8)
    driver, cuda, _, first, second, error = json.loads(ask(node))
    assert "emulated" in driver
    assert "emulated" in first["name"]
    assert cuda == 13000
    assert [first["uuid"], second["uuid"]] == list(node.uuids())
    assert first["memory"] == [256 * MIB, 232 * MIB, 24 * MIB]
    assert first["memory2"] == [256 * MIB, 232 * MIB, 24 * MIB, 0]
    assert first["processes"] == first["processes2"] == {str(target.pid): 24 * MIB}
    assert second["processes"] == {}
    assert [d["index"] for d in (first, second)] == [d["by_uuid"] for d in (first, second)] == [0, 1]
    assert [first["mig"], first["graphics"], first["utilization"]] == [[0, 0], [], [0, 0]]
    assert error == "Invalid Argument"


def test_no_node_means_no_driver(tmp_path, node):
    script = """
import pynvml as n
try:
    n.nvmlInit()
except n.NVMLError as error:
    print(error.value == n.NVML_ERROR_DRIVER_NOT_LOADED)
"""
    env = os.environ | node.environment() | {"HOTSEAT_EMULATOR_DIR": str(tmp_path)}
    command = [sys.executable, "-c", script]
    done = subprocess.run(command, env=env, capture_output=True, text=True, timeout=30, check=True)
    assert done.stdout == "True\n"
