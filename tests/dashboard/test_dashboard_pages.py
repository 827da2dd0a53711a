"""The pages without a browser: who may see what, and what comes back."""

from __future__ import annotations

import json
import re
from collections.abc import AsyncIterator
from typing import Any

import pytest
from dashboard_house import ScriptedHouse

from hotseat.dashboard import Pages
from hotseat.dashboard.answers import number
from hotseat.errors import Forbidden, HotseatError, NoRoom, NotFound, Unauthorized, UsageError
from hotseat.gateway.site import Inquiry, Reply


def there_are() -> bool:
    return True


def there_are_none() -> bool:
    return False


JSON = {"content-type": "application/json"}


@pytest.fixture
def house() -> ScriptedHouse:
    return ScriptedHouse()


async def ask(pages: Pages, path: str, *, method: str = "GET", **more: Any) -> Reply:
    handler = pages.find(method, path)
    assert handler is not None, path
    return await handler(Inquiry(method=method, path=path, **{"admin": True, **more}))


def body(reply: Reply) -> bytes:
    assert isinstance(reply.body, bytes)
    return reply.body


def stream(reply: Reply) -> AsyncIterator[bytes]:
    assert not isinstance(reply.body, bytes)
    return reply.body


def told(event: bytes) -> tuple[str, Any]:
    kind, data = re.search(rb"event: (\w+)\ndata: (.*)\n\n$", event, re.S).groups()  # type: ignore[union-attr]
    return kind.decode(), json.loads(data)


ADMINS = ["/metrics", "/events", "/ui/api/stream", "/ui/api/workloads/ada/logs"]


@pytest.mark.parametrize("path", ADMINS)
async def test_what_only_admins_may_see(house: ScriptedHouse, path: str) -> None:
    pages = Pages(house, keys=there_are)
    with pytest.raises(Unauthorized) as caught:
        await ask(pages, path, admin=False)
    assert caught.value.hint
    with pytest.raises(Forbidden):
        await ask(pages, path, admin=False, headers={"authorization": "Bearer x"})
    assert (await ask(pages, path)).status == 200


@pytest.mark.parametrize("command", ["park", "seat", "prewarm"])
async def test_what_only_admins_may_do(house: ScriptedHouse, command: str) -> None:
    for public in (False, True):
        pages = Pages(house, keys=there_are_none, public=public)
        with pytest.raises(Unauthorized):
            await ask(pages, f"/ui/api/workloads/ada/{command}", method="POST", admin=False, headers=JSON)
    assert house.asked == []


async def test_an_open_gateway_shows_and_lets_nobody_act(house: ScriptedHouse) -> None:
    pages = Pages(house, keys=there_are_none, public=True)
    assert (await ask(pages, "/metrics", admin=False)).status == 200
    who = json.loads(body(await ask(pages, "/ui/api/who", admin=False)))
    assert (who["look"], who["admin"]) == (True, False)
    assert "set `keys`" in who["why"]
    with pytest.raises(Unauthorized):
        await ask(pages, "/ui/api/workloads/ada/logs", admin=False)
    with pytest.raises(Unauthorized):
        await ask(pages, "/events", admin=False)


async def test_keys_close_an_open_gateway_too(house: ScriptedHouse) -> None:
    pages = Pages(house, keys=there_are, public=True)
    assert json.loads(body(await ask(pages, "/ui/api/who", admin=False)))["look"] is False
    with pytest.raises(Unauthorized):
        await ask(pages, "/metrics", admin=False)


async def test_commands_reach_the_house_by_any_name(house: ScriptedHouse) -> None:
    pages = Pages(house, keys=there_are_none)
    house.workloads[0] |= {"name": "team/ada logs"}
    reply = await ask(pages, "/ui/api/workloads/team/ada logs/park", method="POST", headers=JSON, body=b"{}")
    assert [report["workload"] for report in json.loads(body(reply))["reports"]] == ["team/ada logs"]
    assert house.asked == [("park", "team/ada logs")]


async def test_a_prewarm_is_a_hint_of_so_many_seconds(house: ScriptedHouse) -> None:
    pages = Pages(house, keys=there_are_none)
    path = "/ui/api/workloads/bob/prewarm"
    reply = await ask(pages, path, method="POST", headers=JSON, body=b'{"seconds": 90}')
    assert json.loads(body(reply)) == {"workload": "bob", "state": "parked", "seconds": 90}
    for wrong in (b'{"seconds": -1}', b'{"seconds": 1e9}', b'{"seconds": "x"}', b'{"second": 1}'):
        with pytest.raises(UsageError):
            await ask(pages, path, method="POST", headers=JSON, body=wrong)
    with pytest.raises(UsageError, match="application/json"):
        await ask(pages, path, method="POST", body=b'{"seconds": 90}')
    assert house.asked == [("prewarm 90", "bob")]


async def test_a_command_needs_a_content_type_that_no_form_can_send(house: ScriptedHouse) -> None:
    pages = Pages(house, keys=there_are_none)
    for headers in ({}, {"content-type": "text/plain"}, {"content-type": "application/x-www-form-urlencoded"}):
        with pytest.raises(UsageError, match="application/json"):
            await ask(pages, "/ui/api/workloads/ada/park", method="POST", headers=headers)
    for wrong in (b"[1]", b"{", b"\xff"):
        with pytest.raises(UsageError):
            await ask(pages, "/ui/api/workloads/ada/park", method="POST", headers=JSON, body=wrong)
    assert house.asked == []


async def test_refusals_pass_as_they_are(house: ScriptedHouse) -> None:
    house.refuse = NoRoom("no room", hint="park someone")
    pages = Pages(house, keys=there_are_none)
    with pytest.raises(NoRoom, match="no room"):
        await ask(pages, "/ui/api/workloads/bob/seat", method="POST", headers=JSON)
    for method, path in [("GET", "nobody/logs"), ("POST", "nobody/park"), ("GET", "ada/park"), ("POST", "ada/burn")]:
        with pytest.raises(NotFound):
            await ask(pages, f"/ui/api/workloads/{path}", method=method, headers=JSON)


async def test_logs_are_plain_text(house: ScriptedHouse) -> None:
    pages = Pages(house, keys=there_are_none)
    reply = await ask(pages, "/ui/api/workloads/ada/logs", query={"tail": "1"})
    assert dict(reply.headers)["Content-Type"].startswith("text/plain")
    assert dict(reply.headers)["X-Content-Type-Options"] == "nosniff"
    assert [chunk async for chunk in stream(reply)] == [b"two\n"]
    house.written = []
    assert b"".join([chunk async for chunk in stream(await ask(pages, "/ui/api/workloads/ada/logs"))]) == b""


@pytest.mark.parametrize("text", ["-1", "x", "", "1e3", "10001", "9" * 40, "\u0661"])
def test_numbers_of_a_query_have_bounds(text: str) -> None:
    with pytest.raises(UsageError):
        number(Inquiry(method="GET", path="/", query={"tail": text}), "tail", default=1, least=0, most=10_000)


async def test_the_files_are_sealed(house: ScriptedHouse) -> None:
    pages = Pages(house, keys=there_are)
    for path in ("/ui/", "/ui/js/main.js", "/ui/base.css", "/ui/vendor/preact.js", "/ui/icon.svg"):
        reply = await ask(pages, path, admin=False)
        headers = dict(reply.headers)
        assert "default-src 'none'" in headers["Content-Security-Policy"]
        assert "unsafe" not in headers["Content-Security-Policy"]
        assert "frame-ancestors 'none'" in headers["Content-Security-Policy"]
        again = await ask(pages, path, headers={"if-none-match": headers["ETag"]})
        assert (again.status, again.body) == (304, b"")
    assert (await ask(pages, "/ui", admin=False)).status == 308


@pytest.mark.parametrize(
    "path", ["/ui/../site.py", "/ui/js/../../site.py", "/ui/js", "/ui/static/index.html", "/ui/x", "/x"]
)
def test_nothing_outside_the_page_can_be_named(house: ScriptedHouse, path: str) -> None:
    assert Pages(house, keys=there_are_none).find("GET", path) is None
    assert Pages(house, keys=there_are_none).find("POST", "/ui/") is None


def test_what_is_switched_off_is_not_there(house: ScriptedHouse) -> None:
    pages = Pages(house, keys=there_are_none, ui=False, metrics=False)
    for path in ("/ui", "/ui/", "/ui/api/who", "/ui/api/workloads/ada/logs", "/metrics"):
        assert pages.find("GET", path) is None
    assert pages.find("GET", "/events") is not None


async def test_the_stream_tells_all_and_then_what_changes(house: ScriptedHouse) -> None:
    house.events.publish("phase", workload="ada", phase="lock", status="start")
    house.swapped("ada", "out")
    house.past = [{"at": 1.0, "workloads": {}}]
    chunks = stream(await ask(Pages(house, keys=there_are_none), "/ui/api/stream"))
    kind, hello = told(await anext(chunks))
    assert kind == "hello"
    assert [row["name"] for row in hello["now"]["workloads"]] == ["ada", "bob"]
    assert [event["kind"] for event in hello["events"]] == ["swap"]
    assert hello["points"] == house.past
    house.replace("ada", house.workloads[0] | {"state": "paused"})
    house.past = [*house.past, {"at": 2.0, "workloads": {}}]
    seen = [told(await anext(chunks)) for _ in range(3)]
    assert [kind for kind, _ in seen] == ["event", "now", "point"]
    assert seen[0][1]["state"] == seen[1][1]["workloads"][0]["state"] == "paused"
    assert seen[2][1]["at"] == 2.0
    kind, _ = told(await anext(chunks))
    assert kind == "now", "a picture each second, also if nothing happens"
    await chunks.aclose()  # type: ignore[attr-defined]
    assert not house.events._subscribers


async def events_of(reply: Reply, count: int) -> list[tuple[int, str]]:
    chunks = stream(reply)
    assert await anext(chunks) == b": listening\n\n"
    found = []
    for _ in range(count):
        event = await anext(chunks)
        found.append((int(event.split(b"\n")[0].removeprefix(b"id: ")), told(event)[0]))
    await chunks.aclose()  # type: ignore[attr-defined]
    return found


async def test_events_that_were_missed_are_replayed(house: ScriptedHouse) -> None:
    for kind in ("state", "swap", "note", "state"):
        house.events.publish(kind, workload="ada")
    pages = Pages(house, keys=there_are_none)
    assert await events_of(await ask(pages, "/events", headers={"last-event-id": "2"}), 2) == [
        (3, "note"),
        (4, "state"),
    ]
    assert await events_of(await ask(pages, "/events", query={"after": "3"}), 1) == [(4, "state")]
    assert len(await events_of(await ask(pages, "/events", query={"since": "60"}), 4)) == 4
    # An id that was never given out is of an earlier daemon: everything is new to its bearer.
    assert len(await events_of(await ask(pages, "/events", headers={"last-event-id": "900"}), 4)) == 4


async def test_events_by_workload_and_kind(house: ScriptedHouse) -> None:
    pages = Pages(house, keys=there_are_none)
    for kind, name in [("state", "ada"), ("swap", "bob"), ("swap", "ada"), ("note", None)]:
        house.events.publish(kind, workload=name)
    some = await ask(pages, "/events", query={"after": "0", "workload": "ada", "kind": "swap,note"})
    assert await events_of(some, 1) == [(3, "swap")]
    with pytest.raises(UsageError, match="no event kind 'burn'"):
        await ask(pages, "/events", query={"kind": "burn"})
    for wrong in ({"since": "x"}, {"after": "-1"}):
        with pytest.raises(HotseatError):
            await ask(pages, "/events", query=wrong)


async def test_who_listens_from_now_on_hears_nothing_of_before(house: ScriptedHouse) -> None:
    house.events.publish("note", workload="ada")
    chunks = stream(await ask(Pages(house, keys=there_are_none), "/events"))
    assert await anext(chunks) == b": listening\n\n"
    house.events.publish("state", workload="bob")
    kind, data = told(await anext(chunks))
    assert (kind, data["workload"]) == ("state", "bob")
    await chunks.aclose()  # type: ignore[attr-defined]
