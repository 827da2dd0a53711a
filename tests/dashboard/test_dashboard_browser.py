"""The page in a real browser, over a house whose rooms the test furnishes."""

from __future__ import annotations

import asyncio

import pytest
from dashboard_browser import MakeBrowsing, Serve
from dashboard_house import ScriptedHouse, workload
from playwright.async_api import expect

from hotseat.dashboard import Pages
from hotseat.errors import NoRoom
from hotseat.testing.sites import SiteServer

pytestmark = [pytest.mark.browser, pytest.mark.xdist_group("browser")]
KEY = "an-admin-key"


@pytest.fixture
def house() -> ScriptedHouse:
    return ScriptedHouse()


@pytest.fixture
async def server(house: ScriptedHouse, serve: Serve) -> SiteServer:
    return await serve(Pages(house, keys=lambda: False))


async def test_who_sits_who_is_parked_and_who_waits(
    house: ScriptedHouse, server: SiteServer, browse: MakeBrowsing
) -> None:
    house.foreign = 2 << 30
    house.workloads[1] |= {"waiting": 3, "oldest_wait": 4.2, "expected_wait": 6.0, "why": "waits for its turn"}
    house.swapped("bob", "out")
    page = (await browse(server.url)).page
    gpu = page.get_by_role("img", name="Memory of GPU 0")
    await expect(gpu).to_have_attribute("aria-label", "Memory of GPU 0: ada 8.0 GiB, others 2.0 GiB, free 6.0 GiB")
    bob = page.get_by_role("listitem", name="bob")
    await expect(bob).to_contain_text("parked")
    await expect(bob).to_contain_text("waits for its turn; its seat in about 6.00 s")
    await expect(bob).to_contain_text("needs 8.0 GiB")
    await expect(page.get_by_role("heading", name="Workloads")).to_contain_text("1 of 2 seated, 3 requests wait")
    await expect(page.get_by_text("EMULATED")).to_have_count(0)
    await page.locator(".swaps summary").click()
    await expect(page.get_by_role("row", name="checkpoint driver 1.20 s 7.16 GB/s")).to_be_visible()


async def test_the_emulated_driver_says_so(house: ScriptedHouse, server: SiteServer, browse: MakeBrowsing) -> None:
    house.emulated = True
    page = (await browse(server.url)).page
    await expect(page.get_by_text("EMULATED", exact=True)).to_be_visible()
    await expect(page.get_by_text("No figure here is a performance figure")).to_be_visible()


async def test_park_and_seat_by_keyboard_alone(house: ScriptedHouse, server: SiteServer, browse: MakeBrowsing) -> None:
    page = (await browse(server.url)).page
    await expect(page.get_by_role("button", name="Park ada")).to_be_visible()

    async def tab_to(name: str) -> None:
        for _ in range(30):
            await page.keyboard.press("Tab")
            if await page.evaluate("document.activeElement.getAttribute('aria-label')") == name:
                return
        raise AssertionError(f"{name} cannot be reached by Tab")

    await page.keyboard.press("Tab")
    assert await page.evaluate("document.activeElement.textContent") == "Skip to the devices"
    await tab_to("Park ada")
    await page.keyboard.press("Enter")
    await expect(page.get_by_role("listitem", name="ada")).to_contain_text("parked")
    await expect(page.get_by_role("status").filter(has_text="ada parked in 1.50 s")).to_be_visible()
    await page.keyboard.press("Shift+Tab")
    await tab_to("Seat bob")
    await page.keyboard.press("Space")
    await expect(page.get_by_role("listitem", name="bob")).to_contain_text("seated")
    assert house.asked == [("park", "ada"), ("seat", "bob")]


async def test_prewarm_by_keyboard_and_taken_back(
    house: ScriptedHouse, server: SiteServer, browse: MakeBrowsing
) -> None:
    browsing = await browse(server.url, width=360, color_scheme="dark")
    page = browsing.page
    bob = page.get_by_role("listitem", name="bob")
    prewarm = bob.get_by_role("button", name="Prewarm bob")
    await expect(prewarm).to_have_attribute("aria-pressed", "false")
    await prewarm.focus()
    await page.keyboard.press("Enter")
    await expect(page.get_by_role("status").filter(has_text="bob will be wanted for 10 min 0 s")).to_be_visible()
    await expect(bob).to_contain_text("prewarmed: wanted for another 10 min")
    await browsing.fits()
    await browsing.accessible()
    await expect(prewarm).to_have_attribute("aria-pressed", "true")
    await expect(prewarm).to_be_focused()
    await page.keyboard.press("Space")
    await expect(page.get_by_role("status").filter(has_text="bob is not expected any more")).to_be_visible()
    await expect(prewarm).to_have_attribute("aria-pressed", "false")
    assert house.asked == [("prewarm 600", "bob"), ("prewarm 0", "bob")]


async def test_a_click_while_it_is_under_way_does_nothing_more(
    house: ScriptedHouse, server: SiteServer, browse: MakeBrowsing
) -> None:
    house.hold = asyncio.Event()
    page = (await browse(server.url)).page
    park = page.get_by_role("button", name="Park ada")
    await park.click()
    await expect(park).to_have_attribute("aria-disabled", "true")
    await park.click(force=True)
    house.hold.set()
    await expect(page.get_by_role("listitem", name="ada")).to_contain_text("parked")
    assert house.asked == [("park", "ada")]


async def test_a_refusal_is_told_with_what_to_do(
    house: ScriptedHouse, server: SiteServer, browse: MakeBrowsing
) -> None:
    house.refuse = NoRoom("bob cannot be seated: the device is full", hint="park ada first")
    browsing = await browse(server.url)
    await browsing.page.get_by_role("button", name="Seat bob").click()
    told = browsing.page.get_by_role("status").filter(has_text="bob cannot be seated: the device is full")
    await expect(told).to_contain_text("park ada first")
    # The browser notes every answer that is no success; this one was meant.
    assert len(browsing.watched.complaints) == 1
    assert "503" in browsing.watched.complaints.pop()


async def test_a_key_is_asked_for_and_stays_in_the_tab(
    house: ScriptedHouse, serve: Serve, browse: MakeBrowsing
) -> None:
    server = await serve(Pages(house, keys=lambda: True), key=KEY)
    browsing = await browse(server.url)
    page = browsing.page
    field = page.get_by_label("Admin key")
    await expect(field).to_be_visible()
    await expect(page.get_by_text("ada")).to_have_count(0)
    await browsing.accessible()
    await field.fill("wrong")
    await page.keyboard.press("Enter")
    await expect(page.get_by_role("alert")).to_have_text("That is not an admin key.")
    await field.fill(KEY)
    await page.get_by_role("button", name="Come in").click()
    await expect(page.get_by_role("listitem", name="ada")).to_be_visible()
    await page.get_by_role("button", name="Park ada").click()
    await expect(page.get_by_role("listitem", name="ada")).to_contain_text("parked")
    assert await page.evaluate("JSON.stringify(localStorage)") == "{}"
    assert await page.evaluate("document.cookie") == ""
    assert not any(KEY in asked for asked in browsing.watched.requests), "a key in an address ends in logs"
    await page.reload()
    await expect(page.get_by_role("listitem", name="ada")).to_be_visible()
    await page.get_by_role("button", name="Leave").click()
    await expect(field).to_be_visible()
    assert await page.evaluate("sessionStorage.length") == 0


async def test_who_may_only_look_is_told_why(house: ScriptedHouse, serve: Serve, browse: MakeBrowsing) -> None:
    # Nobody is an admin: a key is wanted that no one has, and the gateway is open.
    server = await serve(Pages(house, keys=lambda: False, public=True), key=KEY)
    browsing = await browse(server.url)
    why = "this gateway is open to others without keys: set `keys` to act from here"
    park = browsing.page.get_by_role("button", name="Park ada")
    await expect(park).to_have_attribute("aria-disabled", "true")
    await expect(park).to_have_attribute("title", why)
    await expect(browsing.page.get_by_text(why)).to_be_visible()
    await park.click(force=True)
    await browsing.page.get_by_role("button", name="Logs ada").click(force=True)
    await browsing.accessible()
    assert house.asked == []


async def test_the_daemon_goes_and_comes_back(house: ScriptedHouse, server: SiteServer, browse: MakeBrowsing) -> None:
    browsing = await browse(server.url)
    page = browsing.page
    await expect(page.get_by_text("live", exact=True)).to_be_visible()
    await server.stop()
    await expect(page.get_by_role("alert")).to_contain_text(
        "The daemon does not answer; trying again. What you see is from"
    )
    park = page.get_by_role("button", name="Park ada")
    await expect(park).to_have_attribute("title", "no connection to the daemon")
    house.workloads = [workload("ada", "parked"), workload("bob")]
    await server.start()
    await expect(page.get_by_text("live", exact=True)).to_be_visible()
    await expect(page.get_by_role("alert")).to_have_count(0)
    await expect(page.get_by_role("listitem", name="ada")).to_contain_text("parked")
    assert all("ERR_" in said for said in browsing.watched.complaints)
    browsing.watched.complaints.clear()


async def test_quarantine_is_told_with_its_reason_and_remedy(
    house: ScriptedHouse, server: SiteServer, browse: MakeBrowsing
) -> None:
    why = "bob is quarantined: restore failed with CUDA_ERROR_OUT_OF_MEMORY"
    house.workloads[1] = workload("bob", "quarantined", why=why, hint="restart it: docker restart bob")
    house.events.publish("note", workload="bob", error={"message": why, "hint": "docker restart bob"}, job="swap in")
    browsing = await browse(server.url)
    bob = browsing.page.get_by_role("listitem", name="bob").first
    await expect(bob).to_contain_text(why)
    await expect(bob).to_contain_text("docker restart bob")
    seat = bob.get_by_role("button", name="Seat bob")
    await expect(seat).to_have_attribute("aria-disabled", "true")
    prewarm = bob.get_by_role("button", name="Prewarm bob")
    await expect(prewarm).to_have_attribute("aria-disabled", "true")
    await expect(prewarm).to_have_attribute("title", "bob is quarantined: a swap failed after its commit")
    await prewarm.click(force=True)
    assert house.asked == []
    await expect(browsing.page.get_by_role("region", name="Worth knowing")).to_contain_text("(swap in)")
    await browsing.accessible()


HOSTILE = [
    "<img src=x onerror=alert(1)>",
    '"><script>alert(2)</script>',
    "${alert(3)}{{4}}",
    "javascript:alert(5)",
    "a/b?c=d&e#f %2e%2e",
    "\u202egnp.exe\u0007",
]


async def test_no_name_and_no_word_of_an_engine_becomes_markup(
    house: ScriptedHouse, server: SiteServer, browse: MakeBrowsing
) -> None:
    bad = HOSTILE[0]
    house.workloads = [workload(name, gib=1, models=[bad], why=bad, hint=HOSTILE[1]) for name in HOSTILE]
    house.written = [b"\x1b[31m<img src=x onerror=alert(6)>\x1b[0m\n\x1b]8;;http://x\x07link\x1b]8;;\x07\n"]
    for name in HOSTILE:
        house.swapped(name, "out")
        house.events.publish("note", workload=name, note=bad, error={"message": bad, "hint": bad})
    browsing = await browse(server.url)
    page = browsing.page
    for name in HOSTILE:
        await expect(page.locator(".workload h3").get_by_text(name, exact=True)).to_be_visible()
    await page.locator(".workload", has_text=HOSTILE[4]).get_by_role("button", name="Logs").click()
    await expect(page.get_by_role("log")).to_have_text("<img src=x onerror=alert(6)>\nlink\n")
    assert house.asked == [("logs", HOSTILE[4])]
    assert await page.locator("img:not([src='icon.svg']), script:not([src]), a[href^=javascript]").count() == 0


async def test_logs_in_a_window_that_the_keyboard_closes(
    house: ScriptedHouse, server: SiteServer, browse: MakeBrowsing
) -> None:
    browsing = await browse(server.url)
    page = browsing.page
    opener = page.get_by_role("button", name="Logs ada")
    await opener.focus()
    await page.keyboard.press("Enter")
    await expect(page.get_by_role("log")).to_have_text("one\ntwo\n")
    await browsing.accessible()
    await page.keyboard.press("Escape")
    await expect(page.get_by_role("dialog")).to_have_count(0)
    await expect(opener).to_be_focused()


@pytest.mark.parametrize(("scheme", "width"), [("light", 1280), ("dark", 800), ("light", 360), ("dark", 360)])
async def test_any_window_any_light_any_reader(
    house: ScriptedHouse, server: SiteServer, browse: MakeBrowsing, scheme: str, width: int
) -> None:
    long = "a-name-without-an-end-" * 6
    house.workloads += [workload(long, "parked", models=[long, "x" * 120], why="because " * 30, waiting=120)]
    house.events.publish("note", workload=long, note="w" * 400)
    for name in ("ada", "bob", long):
        house.swapped(name, "out")
    house.past = [{"at": float(second), "workloads": {"ada": {"waiting": 2}}} for second in range(1, 60)]
    browsing = await browse(server.url, width=width, color_scheme=scheme, reduced_motion="reduce")
    page = browsing.page
    await expect(page.locator(".workload")).to_have_count(3)
    await expect(page.locator(".uplot")).to_have_count(3)
    await page.locator(".swaps summary").first.click()
    await page.get_by_text("What the states mean").click()
    await browsing.fits()
    await browsing.accessible()
    dark = await page.evaluate("getComputedStyle(document.documentElement).backgroundColor")
    assert (dark == "rgb(14, 17, 22)") == (scheme == "dark")
    await page.get_by_role("button", name="15 min").click()
    await expect(page.get_by_role("button", name="15 min")).to_have_attribute("aria-pressed", "true")


async def test_the_theme_is_chosen_and_kept(server: SiteServer, browse: MakeBrowsing) -> None:
    page = (await browse(server.url, color_scheme="light")).page
    ground = "getComputedStyle(document.documentElement).backgroundColor"
    assert await page.evaluate(ground) == "rgb(244, 245, 247)"
    for named in ("Theme: as the system", "Theme: light"):
        await page.get_by_role("button", name=named).click()
    await expect(page.get_by_role("button", name="Theme: dark")).to_be_visible()
    assert await page.evaluate(ground) == "rgb(14, 17, 22)"
    await page.reload()
    await expect(page.get_by_role("button", name="Theme: dark")).to_be_visible()
    assert await page.evaluate(ground) == "rgb(14, 17, 22)"
