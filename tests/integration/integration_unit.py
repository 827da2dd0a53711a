"""A systemd unit of packaging/: its settings, a command confined as it says, what systemd finds wrong with it."""

from __future__ import annotations

import configparser
import shutil
import subprocess
from functools import cached_property
from pathlib import Path

UNITS = Path(__file__).parents[2] / "packaging" / "systemd"


class Unit:
    def __init__(self, name: str) -> None:
        self.path = UNITS / name

    @cached_property
    def settings(self) -> dict[str, str]:
        parser = configparser.ConfigParser(interpolation=None)
        parser.optionxform = str  # type: ignore[assignment,method-assign]
        parser.read_string(self.path.read_text())
        return dict(parser["Service"])

    @property
    def capabilities(self) -> list[str]:
        return self.settings["CapabilityBoundingSet"].split()

    def confined(self) -> list[str]:
        """A command prefix that gives what the unit gives, and nothing else."""
        assert self.settings["NoNewPrivileges"] == "yes"
        bounding = ",".join(["-all", *(f"+{name.removeprefix('CAP_').lower()}" for name in self.capabilities)])
        program = shutil.which("setpriv")
        assert program is not None, "setpriv comes with util-linux"
        return [program, f"--bounding-set={bounding}", "--inh-caps=-all", "--ambient-caps=-all", "--no-new-privs"]

    def faults(self, directory: Path) -> list[str]:
        """Of a copy in `directory` whose program is there. None where there is no systemd-analyze."""
        analyze = shutil.which("systemd-analyze")
        if analyze is None:
            return []
        program = directory / "hotseat"
        program.write_text("#!/bin/true\n")
        program.chmod(0o755)
        unit = directory / self.path.name
        unit.write_text(self.path.read_text().replace(self.settings["ExecStart"].split()[0], str(program)))
        command = [analyze, "verify", "--man=no", str(unit)]
        done = subprocess.run(command, check=False, capture_output=True, text=True, timeout=30)
        said = [line for line in done.stderr.splitlines() if "hotseat" in line]
        return said if said or done.returncode == 0 else [done.stderr]
