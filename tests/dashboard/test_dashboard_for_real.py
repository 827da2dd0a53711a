"""The page over the real daemon: before a swap and after it, by a request and by a button.

HOTSEAT_SCREENSHOTS=docs/images writes the pictures that the documents show.
"""

from __future__ import annotations

import asyncio
import os
import re
from pathlib import Path

import pytest
from dashboard_browser import MakeBrowsing
from dashboard_stage import stage
from playwright.async_api import Page, expect

pytestmark = [
    pytest.mark.browser,
    pytest.mark.emulated,
    pytest.mark.xdist_group("browser"),
    pytest.mark.timeout(240),
]
ENGINES = {"llama-3.1-8b": 56, "mistral-small": 72, "nomic-embed": 8}


async def picture(page: Page, name: str, *, beside: Path, whole: bool = True) -> None:
    folder = Path(os.environ.get("HOTSEAT_SCREENSHOTS", beside))
    taken = await page.screenshot(path=folder / f"ui-{name}.png", full_page=whole)
    assert taken.startswith(b"\x89PNG")


async def test_before_and_after_a_swap(tmp_path: Path, browse: MakeBrowsing) -> None:
    async with stage(tmp_path, ENGINES) as house:
        url = house.serving.gateway
        browsing = await browse(url, width=1200, height=800)
        page = browsing.page
        llama, mistral = (page.get_by_role("listitem", name=name).first for name in list(ENGINES)[:2])
        await page.get_by_role("button", name="1 min", exact=True).click()
        await house.say("mistral-small")
        await house.say("nomic-embed")
        await house.say("llama-3.1-8b")
        await expect(llama).to_contain_text("seated")
        await expect(mistral).to_contain_text("parked")
        memory = page.get_by_role("img", name="Memory of GPU 0")
        await expect(memory).to_have_attribute("aria-label", re.compile(r"llama-3.1-8b 7\d\.\d MiB"))
        await picture(page, "before", beside=tmp_path)

        await asyncio.gather(*(house.say("mistral-small", tokens=64) for _ in range(3)))
        await expect(mistral).to_contain_text("seated")
        await expect(llama).to_contain_text("parked")
        await expect(memory).to_have_attribute("aria-label", re.compile(r"mistral-small 8\d\.\d MiB"))
        await expect(page.get_by_role("region", name="Last swaps")).to_contain_text("mistral-small seated")
        await picture(page, "after", beside=tmp_path)
        metrics = await house.metrics()
        assert 'hotseat_requests_total{dialect="openai",model="mistral-small",status="200"} 4.0' in metrics
        assert 'hotseat_tokens_total{kind="completion",model="mistral-small",source="usage"}' in metrics
        assert 'hotseat_seat_wait_seconds_count{workload="mistral-small"} 4.0' in metrics
        assert 'hotseat_swaps_total{direction="in",outcome="done",workload="mistral-small"}' in metrics
        assert "hotseat_emulated 1.0" in metrics
        assert "hotseat_gateway_held_bytes 0.0" in metrics

        await page.get_by_role("button", name="Park mistral-small").click()
        await expect(page.get_by_role("status").filter(has_text="mistral-small parked in")).to_be_visible()
        await expect(mistral).to_contain_text("parked by hand")
        assert house.states()["mistral-small"] == "parked"
        await page.get_by_role("button", name="Seat llama-3.1-8b").click()
        await expect(llama).to_contain_text("seated")
        assert house.states()["llama-3.1-8b"] == "seated"

        await page.locator(".swaps summary").first.click()
        await expect(page.get_by_role("row", name="restore driver")).to_be_visible()
        await page.get_by_role("button", name="Logs llama-3.1-8b").click()
        await expect(page.get_by_role("log")).not_to_have_text("Nothing written yet.")
        await picture(page, "logs", beside=tmp_path, whole=False)
        await page.keyboard.press("Escape")

        phone = await browse(url, width=360, height=740, color_scheme="dark", device_scale_factor=1)
        await expect(phone.page.get_by_text("EMULATED", exact=True)).to_be_visible()
        await expect(phone.page.locator(".workload")).to_have_count(3)
        await phone.fits()
        await phone.accessible()
        await picture(phone.page, "phone", beside=tmp_path, whole=False)
        dark = await browse(url, width=1200, height=800, color_scheme="dark")
        await expect(dark.page.locator(".workload")).to_have_count(3)
        await picture(dark.page, "dark", beside=tmp_path)
    # The daemon has stopped under three open pages.
    await expect(page.get_by_role("alert")).to_contain_text("The daemon does not answer; trying again.")
    for opened in (browsing, phone, dark):
        assert all("ERR_" in said for said in opened.watched.complaints)
        await opened.page.close()
        opened.watched.complaints.clear()


async def test_the_page_comes_back_after_a_restart_of_the_daemon(tmp_path: Path, browse: MakeBrowsing) -> None:
    two = dict(list(ENGINES.items())[:2])
    async with stage(tmp_path, two) as house:
        await house.say("mistral-small")
        await house.say("llama-3.1-8b")
        browsing = await browse(house.serving.gateway)
        page = browsing.page
        llama, mistral = (page.get_by_role("listitem", name=name).first for name in two)
        live = page.get_by_text("live", exact=True)
        await expect(llama).to_contain_text("seated")
        await house.down()
        banner = page.get_by_role("alert")
        await expect(banner).to_contain_text("Seated engines run on, parked ones stay parked.")
        await expect(page.get_by_role("button", name="Seat mistral-small")).to_have_attribute("aria-disabled", "true")
        await house.up()
        await expect(live).to_be_visible()
        await expect(banner).to_have_count(0)
        assert house.states() == {"llama-3.1-8b": "seated", "mistral-small": "parked"}
        await expect(llama).to_contain_text("seated")
        await expect(mistral).to_contain_text("parked")

        # It is the new daemon that tells and obeys: a hint takes the idle one's seat.
        await page.get_by_role("button", name="Prewarm mistral-small").click()
        await expect(mistral).to_contain_text("prewarmed: wanted for another")
        await expect(mistral).to_contain_text("seated")
        await expect(llama).to_contain_text("parked")
        await expect(page.get_by_role("region", name="Last swaps")).to_contain_text("mistral-small seated")
    assert all("ERR_" in said for said in browsing.watched.complaints)
    await page.close()
    browsing.watched.complaints.clear()
