"""A real browser, Debian's chromium with a fresh profile, that must not complain about anything."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from playwright.async_api import Page

from hotseat.testing.sites import SiteServer

ARGUMENTS = [
    "--no-sandbox",  # as root in a container there is none to be had
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
]
AXE = Path(__file__).parent / "vendor/axe.min.js"


@dataclass
class Watched:
    """What a page did that it should not, and what it asked for."""

    complaints: list[str] = field(default_factory=list)
    requests: list[str] = field(default_factory=list)
    dialogs: list[str] = field(default_factory=list)


@dataclass
class Browsing:
    page: Page
    watched: Watched

    async def accessible(self) -> None:
        """No finding of axe-core, which runs beside the page's own policy."""
        await self.page.evaluate(AXE.read_text())
        found: Any = await self.page.evaluate("axe.run(document, {resultTypes: ['violations']})")
        told = [
            f"{finding['id']}: {finding['help']}: {node['target']} {node.get('failureSummary', '')}"
            for finding in found["violations"]
            for node in finding["nodes"]
        ]
        assert not told, "\n".join(told)

    async def fits(self) -> None:
        """Nothing is wider than the window."""
        wide = await self.page.evaluate("document.documentElement.scrollWidth - document.documentElement.clientWidth")
        assert wide == 0


Serve = Callable[..., Awaitable[SiteServer]]
MakeBrowsing = Callable[..., Awaitable[Browsing]]
