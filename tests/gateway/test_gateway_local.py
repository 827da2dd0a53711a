"""Which requests come from programs of this host, and which from a page in one of its browsers."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hotseat.gateway.local import host_is_local


@pytest.mark.parametrize(
    "host", ["localhost", "LocalHost:8000", "127.0.0.1:8000", "127.9.9.9", "[::1]:8000", "a.localhost"]
)
def test_programs_of_this_host(host: str) -> None:
    assert host_is_local({"host": host})
    assert host_is_local({"host": host, "origin": f"http://{host}", "sec-fetch-site": "same-origin"})
    assert host_is_local({"host": host, "sec-fetch-site": "none"})


@pytest.mark.parametrize(
    "host",
    [
        "",
        "evil.example",
        "evil.example:8000",
        "localhost.evil.example",
        "127.0.0.1.evil.example",
        "evil.example#localhost",
        "localhost@evil.example",
        "evil.example/localhost",
        "evil.example\\localhost",
        "10.0.0.1",
        "0.0.0.0",
        "[::]",
        "[::1",
        "localhost:port",
        "2130706433",
        ":8000",
    ],
)
def test_a_name_that_was_made_to_point_here(host: str) -> None:
    assert not host_is_local({"host": host})


@pytest.mark.parametrize(
    "more",
    [
        {"origin": "https://evil.example"},
        {"origin": "null"},
        {"origin": ""},
        {"origin": "http://localhost:3000"},
        {"origin": "http://127.0.0.1:8000"},
        {"origin": "file://localhost:8000"},
        {"sec-fetch-site": "cross-site"},
        {"sec-fetch-site": "same-site"},
        {"origin": "http://localhost:8000", "sec-fetch-site": "cross-site"},
    ],
)
def test_a_page_of_somebody_else(more: dict[str, str]) -> None:
    assert not host_is_local({"host": "localhost:8000", **more})


def test_no_host_at_all() -> None:
    assert not host_is_local({})


@given(st.text(), st.none() | st.text())
def test_anything_else_is_answered_and_not_believed(host: str, origin: str | None) -> None:
    headers = {"host": host} | ({} if origin is None else {"origin": origin})
    if host_is_local(headers):
        bare = host.strip().lower()
        assert bare.startswith(("localhost", "127.", "[")) or ".localhost" in bare
        assert origin is None or origin.strip().lower().endswith(bare)
