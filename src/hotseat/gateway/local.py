"""Whether a request comes from a program on this host, and not from a web page elsewhere. Pure.

A gateway on loopback is reached by every page in every browser of this host. Two tricks let such a page act here: a
request across origins (it cannot read the answer, but a POST has its effect) and DNS rebinding (the page's own name is
made to point to 127.0.0.1, so that the browser takes us for the page's server and lets it read). The first shows in
Origin and Sec-Fetch-Site, the second in Host. And whoever comes through a reverse proxy on this host comes from
anywhere; the proxy's own headers show it.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Collection, Mapping
from urllib.parse import urlsplit

_PROXIES = frozenset({"forwarded", "via", "x-real-ip"})


def host_is_local(headers: Mapping[str, str]) -> bool:
    """`headers` by lower-case names. Host must name this host, and a page, if it is one that asks, must be ours.

    Programs send no Origin. A page of another server on this host (another port) is somebody else's too. What a proxy
    passes on is not local."""
    host = headers.get("host", "").strip().lower()
    if not _is_loopback(_name(host)) or _came_by_proxy(headers):
        return False
    if headers.get("sec-fetch-site", "none").strip().lower() not in ("none", "same-origin"):
        return False
    origin = headers.get("origin")
    if origin is None:
        return True
    scheme, separator, rest = origin.strip().lower().partition("://")
    return bool(separator) and scheme in ("http", "https") and rest == host


def may_use(headers: Mapping[str, str], *, acts: bool, allowed: Collection[str]) -> bool:
    """Whether a gateway on loopback that has no keys answers at all. `acts`: the request is more than a GET of a page,
    so one from a page elsewhere is not answered. `allowed`: names beside this host's, in lower case; for those it may
    come by a proxy."""
    # Every browser says Host; programs of HTTP/1.0 need not.
    name = _name(headers.get("host", "localhost"))
    if not name or (name not in allowed and (not _is_loopback(name) or _came_by_proxy(headers))):
        return False
    if not acts:
        return True
    origin = headers.get("origin")
    if origin is not None:
        page = _name(origin.partition("://")[2])
        if page in allowed:
            return True
        if page != name and not _is_loopback(page):
            return False
    return headers.get("sec-fetch-site", "").strip().lower() != "cross-site"


def _came_by_proxy(headers: Mapping[str, str]) -> bool:
    return any(name in _PROXIES or name.startswith("x-forwarded-") for name in headers)


def _name(authority: str) -> str:
    """Of "localhost:8000", "127.0.0.1", "[::1]:8000"; "" if it is none."""
    authority = authority.strip().lower()
    if "@" in authority or any(character in authority for character in "/?#\\"):
        return ""
    try:
        parts = urlsplit("//" + authority)
        name, _ = parts.hostname, parts.port
    except ValueError:
        return ""
    return name or ""


def _is_loopback(name: str) -> bool:
    if name == "localhost" or name.endswith(".localhost"):
        return True  # RFC 6761: never in DNS
    try:
        return ipaddress.ip_address(name).is_loopback
    except ValueError:
        return False
