"""A measuring run: commands with deadlines, what the device says, checks that are counted, results that are kept.

Standard library and nvidia-ml-py only, so that it runs on a bare GPU machine.
"""

from __future__ import annotations

import json
import os
import platform
import shlex
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pynvml


class StepFailed(Exception):
    """A section of the run cannot go on."""


class Lab:
    """Collects what a run finds. Everything lands in `out`: results.json, log.txt and what sections write."""

    def __init__(self, *, out: Path, hotseat: list[str]) -> None:
        self.out = out
        self.hotseat = hotseat
        out.mkdir(parents=True, exist_ok=True)
        self.log_file = (out / "log.txt").open("a", buffering=1)
        self.results: dict[str, Any] = {"machine": {}, "sections": {}}
        self.checks: list[tuple[str, bool]] = []
        self.section_name = ""
        self.environ = dict(os.environ)
        self.started = time.monotonic()
        pynvml.nvmlInit()
        self.device = pynvml.nvmlDeviceGetHandleByIndex(0)

    def say(self, *words: object) -> None:
        line = f"[{time.monotonic() - self.started:6.1f}] " + " ".join(str(w) for w in words)
        print(line, flush=True)
        self.log_file.write(line + "\n")

    def check(self, what: str, ok: bool, seen: object = "") -> None:
        """Count a claim. A claim that fails does not end the section: the others are worth knowing too."""
        self.checks.append((f"{self.section_name}: {what}", ok))
        if not ok:
            self.say("WRONG:", what, seen)

    def record(self, name: str, value: Any) -> None:
        self.results["sections"].setdefault(self.section_name, {})[name] = value
        self.say(f"{self.section_name}.{name} =", json.dumps(value, default=str)[:2000])

    @contextmanager
    def section(self, name: str) -> Iterator[None]:
        self.section_name = name
        started = time.monotonic()
        self.say("=== ", name)
        try:
            yield
        except Exception as error:  # a broken section must not cost the others on a borrowed machine
            self.check(f"ran to the end ({type(error).__name__}: {str(error)[:1500]})", False)
        self.record("wall_s", round(time.monotonic() - started, 1))
        self.save()

    def save(self) -> None:
        self.results["checks"] = {"passed": sum(ok for _, ok in self.checks), "of": len(self.checks)}
        self.results["wrong"] = [what for what, ok in self.checks if not ok]
        (self.out / "results.json").write_text(json.dumps(self.results, indent=1, default=str) + "\n")

    def sh(self, command: str | list[str], *, deadline: float = 60, ok: bool = True) -> str:
        argv = shlex.split(command) if isinstance(command, str) else command
        try:
            done = subprocess.run(argv, capture_output=True, text=True, timeout=deadline, check=False, env=self.environ)
        except subprocess.TimeoutExpired as late:
            raise StepFailed(f"{shlex.join(argv)}: nothing within {deadline} s") from late
        if ok and done.returncode:
            raise StepFailed(f"{shlex.join(argv)}: exit {done.returncode}: {(done.stdout + done.stderr)[-1500:]}")
        return done.stdout

    def cli(self, *args: str, deadline: float = 120, ok: bool = True) -> Any:
        """Run `hotseat ARGS --json`, return what it prints."""
        printed = self.sh([*self.hotseat, *args, "--json"], deadline=deadline, ok=ok)
        return json.loads(printed) if printed.strip() else None

    def describe_machine(self) -> None:
        memory = pynvml.nvmlDeviceGetMemoryInfo(self.device, version=pynvml.nvmlMemory_v2)
        self.results["machine"] = {
            "date": time.strftime("%Y-%m-%d", time.gmtime()),
            "gpu": pynvml.nvmlDeviceGetName(self.device),
            "gpu_bytes": memory.total,
            "driver": pynvml.nvmlSystemGetDriverVersion(),
            "kernel": platform.release(),
            "cpus": os.cpu_count(),
            "command": shlex.join(sys.argv),
        }
        self.say(json.dumps(self.results["machine"]))

    def used(self) -> int:
        """Bytes in use on the device, without what the driver reserves for itself."""
        return int(pynvml.nvmlDeviceGetMemoryInfo(self.device, version=pynvml.nvmlMemory_v2).used)

    def used_by(self, pids: set[int]) -> int:
        listed = pynvml.nvmlDeviceGetComputeRunningProcesses(self.device)
        return sum(p.usedGpuMemory or 0 for p in listed if p.pid in pids)

    def wait(self, what: str, condition: Callable[[], bool], *, deadline: float, every: float = 0.1) -> float:
        """Seconds until `condition` holds."""
        started = time.monotonic()
        while not condition():
            if time.monotonic() - started > deadline:
                raise StepFailed(f"{what}: not within {deadline} s")
            time.sleep(every)
        return time.monotonic() - started
