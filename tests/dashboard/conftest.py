from __future__ import annotations

import contextlib
import shutil
from collections.abc import AsyncIterator
from typing import Any

import pytest
from dashboard_browser import ARGUMENTS, Browsing, MakeBrowsing, Serve, Watched
from playwright.async_api import async_playwright

from hotseat.gateway.site import Site
from hotseat.testing.sites import SiteServer


@pytest.fixture
async def serve() -> AsyncIterator[Serve]:
    """`serve(site, key=...)` serves it until the browser has closed."""
    async with contextlib.AsyncExitStack() as stack:

        async def make(site: Site, *, key: str = "") -> SiteServer:
            return await stack.enter_async_context(SiteServer(site, key=key))

        yield make


@pytest.fixture
async def browse(serve: Serve) -> AsyncIterator[MakeBrowsing]:
    """`browse(url, **context)` opens a page in a context of its own; at the end none may have complained."""
    opened: list[Watched] = []
    async with async_playwright() as playwright:
        program = shutil.which("chromium")
        assert program is not None
        browser = await playwright.chromium.launch(executable_path=program, args=ARGUMENTS)

        async def make(url: str, *, width: int = 1280, height: int = 900, **more: Any) -> Browsing:
            context = await browser.new_context(viewport={"width": width, "height": height}, **more)
            context.set_default_timeout(30_000)
            page = await context.new_page()
            watched = Watched()
            opened.append(watched)
            page.on("console", lambda said: watched.complaints.append(said.text) if said.type == "error" else None)
            page.on("pageerror", lambda error: watched.complaints.append(str(error)))
            page.on("request", lambda request: watched.requests.append(request.url))

            async def dialog(shown: Any) -> None:
                watched.dialogs.append(shown.message)
                await shown.dismiss()

            page.on("dialog", dialog)
            await page.goto(f"{url}/ui/")
            origin = url + "/"
            watched.complaints.extend(asked for asked in watched.requests if not asked.startswith(origin))
            return Browsing(page=page, watched=watched)

        yield make
        await browser.close()
    for watched in opened:
        assert watched.complaints == []
        assert watched.dialogs == []
