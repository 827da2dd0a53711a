"""Whether a request comes from a program on this host, and not from a web page elsewhere. Pure.

A gateway on loopback is reached by every page in every browser of this host. Two tricks let such a page act here: a
request across origins (it cannot read the answer, but a POST has its effect) and DNS rebinding (the page's own name is
made to point to 127.0.0.1, so that the browser takes us for the page's server and lets it read). The first shows in
Origin and Sec-Fetch-Site, the second in Host.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Mapping
from urllib.parse import urlsplit


def host_is_local(headers: Mapping[str, str]) -> bool:
    """`headers` by lower-case names. Host must name this host, and a page, if it is one that asks, must be ours.

    Programs send no Origin. A page of another server on this host (another port) is somebody else's too."""
    host = headers.get("host", "").strip().lower()
    if not _is_loopback(host):
        return False
    if headers.get("sec-fetch-site", "none").strip().lower() not in ("none", "same-origin"):
        return False
    origin = headers.get("origin")
    if origin is None:
        return True
    scheme, separator, rest = origin.strip().lower().partition("://")
    return bool(separator) and scheme in ("http", "https") and rest == host


def _is_loopback(authority: str) -> bool:
    """Of "localhost:8000", "127.0.0.1", "[::1]:8000"."""
    if "@" in authority or any(character in authority for character in "/?#\\"):
        return False
    try:
        parts = urlsplit("//" + authority)
        name, _ = parts.hostname, parts.port
    except ValueError:
        return False
    if not name:
        return False
    if name == "localhost" or name.endswith(".localhost"):
        return True  # RFC 6761: never in DNS
    try:
        return ipaddress.ip_address(name).is_loopback
    except ValueError:
        return False
