"""API keys: who asks, what they may use, and how many requests they have at once. No I/O.

A key itself stands nowhere here: `hotseat.yaml` has its SHA-256, and what a client sends is hashed before it is looked
up. A key is 256 random bits (`hotseat key`), so its hash needs no salt and no slowness. The lookup is by digest, in a
table whose order Python's keyed hash of this process decides: its time tells nothing about a key.
"""

from __future__ import annotations

import contextlib
import hashlib
import re
import secrets
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass

from hotseat.config.gateway import Key
from hotseat.errors import Forbidden, TooMany, Unauthorized, UsageError
from hotseat.gateway.dialects.port import Header
from hotseat.gateway.port import ANYONE, Caller

PREFIX = "hs-"
SHORTEST = 16
"""Characters of a key that somebody made up: a shorter one can be found by trying."""
PROTOCOLS = "sec-websocket-protocol"
PLACES = ("authorization", "x-api-key", "api-key", PROTOCOLS)
"""Headers in which a key may stand. Never in the query: URLs end up in logs."""
_IN_PROTOCOL = "openai-insecure-api-key."
"""A page in a browser can set no headers of a WebSocket; OpenAI's clients offer the key as a protocol of this name."""
_BEARER = re.compile(r"Bearer +(\S+) *", re.IGNORECASE)


def new_key() -> str:
    return PREFIX + secrets.token_urlsafe(32)


def hash_of(key: str) -> str:
    """As `keys.NAME.hash` has it. `UsageError` if it is too short to be a secret."""
    if len(key) < SHORTEST:
        raise UsageError(f"a key has at least {SHORTEST} characters", hint="`hotseat key` makes a good one")
    return f"sha256:{hashlib.sha256(key.encode()).hexdigest()}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Bearer:
    """Whose request it is, and what they may."""

    caller: Caller = ANYONE
    admin: bool = False
    max_concurrent: int | None = None
    scope: Callable[[str], object] | None = None
    """None: every model."""

    def may_use(self, model: str) -> bool:
        return self.scope is None or bool(self.scope(model))

    def check(self, model: str) -> None:
        """`Forbidden`, in the same words whether there is such a model or not."""
        if not self.may_use(model):
            raise Forbidden(
                f"this key may not use {model!r}",
                rule="a key reaches the models of its scope",
                hint=f"GET /v1/models lists what it reaches; keys.{self.caller.name}.models in hotseat.yaml says it",
                param="model",
            )

    def check_all(self, models: Sequence[str], *, workload: str) -> None:
        """For /upstream: who talks to an engine as they please can name any of its `models`, so they must all be in
        scope. `Forbidden`, also if there are none, in the same words."""
        if not models or not all(map(self.may_use, models)):
            raise Forbidden(
                f"this key may not use {workload!r}",
                rule="a key reaches the models of its scope, and an engine's pages reach all of the engine's",
                hint=f"keys.{self.caller.name}.models in hotseat.yaml must have every model of the workload",
            )


EVERYONE = Bearer()
"""Where there are no keys."""


class KeyRing:
    """The keys as they are now, and how many requests each has. One event loop's."""

    def __init__(self, keys: Mapping[str, Key] | None = None) -> None:
        self.any = False
        """There are keys. The same as its truth, where a call is too dear."""
        self._bearers: dict[bytes, Bearer] = {}
        self._names: dict[str, Bearer] = {}
        self._running: dict[str, int] = {}
        self.replace(keys or {})

    def __bool__(self) -> bool:
        return self.any

    def replace(self, keys: Mapping[str, Key]) -> None:
        """A new list, at once: what runs goes on and still counts for its key, by the key's name."""
        self._bearers = {
            bytes.fromhex(key.hash.removeprefix("sha256:")): _bearer(name, key) for name, key in keys.items()
        }
        self._names = {bearer.caller.name: bearer for bearer in self._bearers.values()}
        self.any = bool(keys)

    def identify(self, header: Header) -> Bearer:
        """Whose request has these headers. `Unauthorized` if there are keys and it has none of them."""
        if not self._bearers:
            return EVERYONE
        given = False
        for name in PLACES:
            for key in _candidates(name, header(name)):
                given = True
                if (bearer := self._find(key)) is not None:
                    return bearer
        raise Unauthorized(
            "the key is not known here" if given else "a key is needed",
            rule="with `keys` in hotseat.yaml every request needs one",
            hint="send `Authorization: Bearer KEY` (or x-api-key: KEY); `hotseat key NAME` makes one",
        )

    def for_engine(self, header: Header) -> Mapping[str, str | None]:
        """Which headers must not go on to an engine as they are, because they carry a key of ours: their lower-case
        names, and what stands in their place (None: nothing). A client's key for the engine itself passes."""
        if not self._bearers:
            return {}
        out: dict[str, str | None] = {}
        for name in PLACES:
            value = header(name)
            if all(self._find(key) is None for key in _candidates(name, value)):
                continue
            others = [part for part in _protocols(value or "") if not part.startswith(_IN_PROTOCOL)]
            out[name] = ", ".join(others) or None if name == PROTOCOLS else None
        return out

    @contextlib.contextmanager
    def counted(self, bearer: Bearer) -> Iterator[None]:
        """Its request, for as long as it waits and runs. `TooMany` if the key has as many as it may."""
        name = bearer.caller.name
        running = self._running.get(name, 0)
        # As the list is now, not as it was when this request was identified.
        most = self._names.get(name, bearer).max_concurrent
        if most is not None and running >= most:
            raise TooMany(
                f"this key has {running} requests waiting or running, which is all it may",
                rule="keys.NAME.max_concurrent",
                hint="wait for one of them to end",
                retry_after=1.0,
            )
        self._running[name] = running + 1
        try:
            yield
        finally:
            left = self._running[name] - 1
            if left:
                self._running[name] = left
            else:
                del self._running[name]

    def running(self, name: str) -> int:
        return self._running.get(name, 0)

    def _find(self, key: str) -> Bearer | None:
        return self._bearers.get(hashlib.sha256(key.encode(errors="surrogateescape")).digest())


def _bearer(name: str, key: Key) -> Bearer:
    everything = "*" in key.models
    pattern = re.compile("|".join(_pattern(glob) for glob in key.models), re.DOTALL)
    return Bearer(
        caller=Caller(name=name, priority=key.priority),
        admin=key.admin,
        max_concurrent=key.max_concurrent,
        scope=None if everything else pattern.fullmatch,
    )


def _pattern(glob: str) -> str:
    runs = re.sub(r"\*+", "*", glob)  # "**" says no more, and would take the matcher exponentially long
    return re.escape(runs).replace(r"\*", ".*").replace(r"\?", ".")


def _candidates(name: str, value: str | None) -> list[str]:
    if value is None:
        return []
    if name == "authorization":
        found = _BEARER.fullmatch(value.strip())
        return [found.group(1)] if found else []
    if name == PROTOCOLS:
        return [part.removeprefix(_IN_PROTOCOL) for part in _protocols(value) if part.startswith(_IN_PROTOCOL)]
    return [value.strip()]


def _protocols(value: str) -> list[str]:
    return [part.strip() for part in value.split(",")]
