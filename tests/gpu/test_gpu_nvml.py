"""NVML's list of processes and its total are two questions; what is told is one moment."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from types import SimpleNamespace

import pytest

from hotseat.gpu import nvml, wire

MIB = 1 << 20


@dataclass
class Device:
    """A device whose `events` happen one after each question about its processes."""

    held: dict[int, int]
    events: list[Callable[[dict[int, int]], object]] = field(default_factory=list)

    def processes(self, _handle: object) -> list[SimpleNamespace]:
        found = [SimpleNamespace(pid=pid, usedGpuMemory=nbytes) for pid, nbytes in self.held.items()]
        if self.events:
            self.events.pop(0)(self.held)
        return found

    def memory(self, _handle: object, **_version: object) -> SimpleNamespace:
        used = sum(self.held.values())
        return SimpleNamespace(total=100 * MIB, used=used, free=100 * MIB - used)


def read(device: Device, monkeypatch: pytest.MonkeyPatch) -> wire.NvmlDevice:
    monkeypatch.setattr(nvml.pynvml, "nvmlDeviceGetComputeRunningProcesses", device.processes)
    monkeypatch.setattr(nvml.pynvml, "nvmlDeviceGetMemoryInfo", device.memory)
    monkeypatch.setattr(nvml.pynvml, "nvmlDeviceGetUUID", lambda _handle: "GPU-0")
    monkeypatch.setattr(nvml.pynvml, "nvmlDeviceGetName", lambda _handle: "a device")
    return nvml.read(0, None)


@pytest.mark.parametrize(
    "happens",
    [
        pytest.param(lambda held: held.pop(9), id="another process ends"),
        pytest.param(lambda held: held.update({9: 7 * MIB}), id="another allocates"),
        pytest.param(lambda held: held.update({10: MIB}), id="another comes"),
    ],
)
def test_what_changes_between_the_two_questions_is_in_both_answers_or_in_none(
    monkeypatch: pytest.MonkeyPatch, happens: Callable[[dict[int, int]], object]
) -> None:
    device = Device({1: 60 * MIB, 9: 2 * MIB}, [happens])
    seen = read(device, monkeypatch)
    assert {process.pid: process.used_bytes for process in seen.processes} == device.held
    assert seen.used_bytes == sum(device.held.values())


def test_a_device_that_never_rests_is_told_as_it_was_last_seen(monkeypatch: pytest.MonkeyPatch) -> None:
    def more(held: dict[int, int]) -> None:
        held[9] += MIB

    device = Device({9: MIB}, [more] * 50)
    seen = read(device, monkeypatch)
    assert len(device.events) == 50 - nvml.LOOKS - 1
    assert [process.pid for process in seen.processes] == [9]
