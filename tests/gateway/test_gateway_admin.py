"""The admin API: who may, what it does, what it says."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from typing import Any

import pytest

from hotseat.errors import Forbidden, NotFound, Unauthorized, UsageError
from hotseat.gateway.admin import AdminSite
from hotseat.gateway.site import Handler, Inquiry, Reply, Sites


@dataclass
class FakeDesk:
    done: list[tuple[object, ...]] = field(default_factory=list)

    def rows(self) -> list[dict[str, Any]]:
        return [{"name": "a", "state": "seated"}, {"name": "b", "state": "parked"}]

    async def park(self, name: str, *, whole: bool) -> list[dict[str, Any]]:
        self.done.append(("park", name, whole))
        return [{"workload": name, "direction": "out"}]

    async def seat(self, name: str) -> list[dict[str, Any]]:
        self.done.append(("seat", name))
        return [{"workload": "b", "direction": "out"}, {"workload": name, "direction": "in"}]

    async def spill(self, name: str) -> dict[str, Any]:
        self.done.append(("spill", name))
        return {"workload": name, "to": "disk"}

    async def fetch(self, name: str) -> dict[str, Any]:
        self.done.append(("fetch", name))
        return {"workload": name, "to": "host memory"}

    async def prewarm(self, name: str, *, seconds: float) -> dict[str, Any]:
        self.done.append(("prewarm", name, seconds))
        return {"workload": name, "state": "parked", "seconds": seconds}


async def ask(
    desk: FakeDesk, method: str, path: str, *, body: bytes = b"", admin: bool = True, **headers: str
) -> Reply:
    handler = AdminSite(desk).find(method, path)
    assert handler is not None
    return await handler(Inquiry(method=method, path=path, body=body, admin=admin, headers=headers))


def value(reply: Reply) -> Any:
    assert isinstance(reply.body, bytes)
    return json.loads(reply.body)


async def test_workloads() -> None:
    desk = FakeDesk()
    assert value(await ask(desk, "GET", "/hotseat/v1/workloads")) == desk.rows()
    assert value(await ask(desk, "GET", "/hotseat/v1/workloads/b")) == desk.rows()[1]
    with pytest.raises(NotFound, match="no workload 'c'"):
        await ask(desk, "GET", "/hotseat/v1/workloads/c")


async def test_commands() -> None:
    desk = FakeDesk()
    assert value(await ask(desk, "POST", "/hotseat/v1/workloads/a/park"))["reports"][0]["direction"] == "out"
    assert len(value(await ask(desk, "POST", "/hotseat/v1/workloads/b/seat"))["reports"]) == 2
    reply = await ask(desk, "POST", "/hotseat/v1/workloads/b/prewarm", body=b'{"seconds": 30}')
    assert (reply.status, value(reply)["seconds"]) == (202, 30.0)
    await ask(desk, "POST", "/hotseat/v1/workloads/b/prewarm")
    assert desk.done == [("park", "a", False), ("seat", "b"), ("prewarm", "b", 30.0), ("prewarm", "b", 600.0)]
    assert value(await ask(desk, "POST", "/hotseat/v1/workloads/b/spill")) == {"workload": "b", "to": "disk"}
    assert value(await ask(desk, "POST", "/hotseat/v1/workloads/b/fetch")) == {"workload": "b", "to": "host memory"}
    await ask(desk, "POST", "/hotseat/v1/workloads/a/park", body=b'{"whole": true}')
    assert desk.done[4:] == [("spill", "b"), ("fetch", "b"), ("park", "a", True)]


@pytest.mark.parametrize(
    "body", [b"x", b"[]", b'{"seconds": -1}', b'{"seconds": NaN}', b'{"seconds": 1e9}', b'{"minutes": 1}', b"\xff"]
)
async def test_a_prewarm_that_says_something_else(body: bytes) -> None:
    desk = FakeDesk()
    with pytest.raises(UsageError):
        await ask(desk, "POST", "/hotseat/v1/workloads/b/prewarm", body=body)
    assert desk.done == []


@pytest.mark.parametrize("body", [b"x", b"[]", b'{"whole": 1}', b'{"keep": true}', b"\xff"])
async def test_a_park_that_says_something_else(body: bytes) -> None:
    desk = FakeDesk()
    with pytest.raises(UsageError, match="whole"):
        await ask(desk, "POST", "/hotseat/v1/workloads/b/park", body=body)
    assert desk.done == []


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("GET", "/hotseat/v1/workloads"),
        ("GET", "/hotseat/v1/workloads/a"),
        ("POST", "/hotseat/v1/workloads/a/park"),
        ("POST", "/hotseat/v1/workloads/a/seat"),
        ("POST", "/hotseat/v1/workloads/a/prewarm"),
        ("POST", "/hotseat/v1/workloads/a/spill"),
        ("GET", "/hotseat/v1/nothing"),
    ],
)
async def test_only_for_admins(method: str, path: str) -> None:
    desk = FakeDesk()
    with pytest.raises(Unauthorized):
        await ask(desk, method, path, admin=False)
    for header in ("authorization", "x-api-key", "api-key"):
        with pytest.raises(Forbidden):
            await ask(desk, method, path, admin=False, **{header: "Bearer of no admin"})
    assert desk.done == []


async def test_whose_pages_these_are() -> None:
    site = AdminSite(FakeDesk())
    assert site.find("GET", "/ui") is None
    assert site.find("GET", "/hotseat") is None
    for method, path in [
        ("GET", "/hotseat/v1/"),
        ("POST", "/hotseat/v1/workloads"),
        ("POST", "/hotseat/v1/workloads/a/stop"),
        ("GET", "/hotseat/v1/workloads/a/park"),
        ("DELETE", "/hotseat/v1/workloads/a"),
    ]:
        with pytest.raises(NotFound):
            await ask(FakeDesk(), method, path)


async def test_several_sites_are_one() -> None:
    class Page:
        def find(self, method: str, path: str) -> Handler | None:
            return self.page if path in ("/ui", "/hotseat/v1/workloads") else None

        async def page(self, inquiry: Inquiry) -> Reply:
            return Reply(body=b"page")

    sites = Sites(AdminSite(FakeDesk()), Page())
    assert sites.find("GET", "/v1/models") is None
    for path, first in (("/ui", b"page"), ("/hotseat/v1/workloads", b"[")):
        handler = sites.find("GET", path)
        assert handler is not None
        reply = await handler(Inquiry(method="GET", path=path, admin=True))
        assert isinstance(reply.body, bytes)
        assert reply.body.startswith(first)
