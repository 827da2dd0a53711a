"""Leaves out the tests that this machine cannot run, and says so at the end; never by a quiet skip.

A test that needs root, Docker, Podman or a browser carries the marker of that name. Where the need is not met the test
is deselected and counted. Under CI (`CI=true`) nothing may be left out: then the run fails, and so it does for a skip.
"""

from __future__ import annotations

import os
import shutil
from collections import Counter
from typing import Any

import pytest


def unmet() -> dict[str, str]:
    """Marker -> why its tests cannot run here and what would help. Empty on a machine that runs everything."""
    root = os.geteuid() == 0
    out: dict[str, str] = {}
    if not root:
        out["root"] = "not root: run `sudo make test` for them"
    if not (root and shutil.which("dockerd")):
        out["docker"] = "needs root and dockerd (apt-get install docker.io)" if root else "not root"
    if not (root and shutil.which("podman")):
        out["podman"] = "needs root and podman (apt-get install podman runc)" if root else "not root"
    if not shutil.which("chromium"):
        out["browser"] = "needs chromium (apt-get install chromium)"
    if not shutil.which("musl-gcc"):
        out["musl"] = "needs musl-gcc (apt-get install musl-tools)"
    if "docker" in out or not shutil.which("docker-compose"):
        out["compose"] = "needs Docker and docker-compose (apt-get install docker-compose)" if root else "not root"
    return out


class LeftOut:
    """One session's record. With xdist each worker leaves out the same tests; one report of it is enough."""

    def __init__(self, config: pytest.Config) -> None:
        self.config = config
        self.unmet = unmet()
        self.count: Counter[str] = Counter()
        self.skipped = 0

    def pytest_collection_modifyitems(self, config: pytest.Config, items: list[pytest.Item]) -> None:
        kept, left = [], []
        for item in items:
            needs = [marker for marker in self.unmet if item.get_closest_marker(marker)]
            (left if needs else kept).append(item)
            self.count.update(needs[:1])
        if left:
            config.hook.pytest_deselected(items=left)
            items[:] = kept
        if hasattr(config, "workeroutput"):
            config.workeroutput["left_out"] = dict(self.count)

    @pytest.hookimpl(optionalhook=True)
    def pytest_testnodedown(self, node: Any, error: object) -> None:
        counted = getattr(node, "workeroutput", {}).get("left_out", {})
        self.count = Counter(counted) | self.count

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        self.skipped += report.outcome == "skipped" and not hasattr(report, "wasxfail")

    @pytest.hookimpl(trylast=True)
    def pytest_sessionfinish(self, session: pytest.Session) -> None:
        if os.environ.get("CI") == "true" and (self.count or self.skipped) and not hasattr(self.config, "workeroutput"):
            session.exitstatus = pytest.ExitCode.TESTS_FAILED

    def pytest_terminal_summary(self, terminalreporter: Any) -> None:
        if not self.count and not self.skipped:
            return
        terminalreporter.section("LEFT OUT", sep="!", red=True, bold=True)
        for marker, number in self.count.items():
            terminalreporter.line(f"{number} tests marked {marker!r} did not run: {self.unmet[marker]}", red=True)
        if self.skipped:
            terminalreporter.line(f"{self.skipped} tests were skipped", red=True)
        if os.environ.get("CI") == "true":
            terminalreporter.line("CI=true: nothing may be left out, so this run has failed", red=True)


def pytest_configure(config: pytest.Config) -> None:
    config.pluginmanager.register(LeftOut(config), "hotseat-left-out")
