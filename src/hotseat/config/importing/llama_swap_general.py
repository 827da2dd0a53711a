"""What a llama-swap configuration says beside its models: defaults, keys, and who is preferred. Pure."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from hotseat.config.importing import llama_swap_remarks as remarks
from hotseat.config.importing.macros import Macros

SHORTEST_TIMEOUT = 15
MOST_PRIORITY = 100


def listed(value: Any) -> list[Any]:
    return value if isinstance(value, list) else []


def mapped(value: Any) -> dict[Any, Any]:
    return value if isinstance(value, dict) else {}


def number(value: Any, default: int) -> int:
    return value if isinstance(value, int) and not isinstance(value, bool) else default


@dataclass(frozen=True, slots=True)
class General:
    raw: Mapping[Any, Any]
    env: Mapping[str, str]
    note: Callable[[str, str], None]
    """Told of (where, what) has no equivalent."""

    def remark(self) -> None:
        """On every setting at the top of the file that has no equivalent as a whole."""
        for key in self.raw:
            if key in remarks.GENERAL:
                self.note(str(key), remarks.GENERAL[key])
            elif key not in remarks.KNOWN_GENERAL:
                self.note(str(key), remarks.NOTHING)

    def defaults(self) -> dict[str, Any]:
        out: dict[str, Any] = {}
        if (timeout := number(self.raw.get("healthCheckTimeout"), 0)) > 0:
            out["start_timeout"] = f"{max(timeout, SHORTEST_TIMEOUT)}s"
        if (ttl := number(self.raw.get("globalTTL"), 0)) > 0:
            out["idle_timeout"] = f"{ttl}s"
        if (grace := number(self.raw.get("unloadTimeout"), 0)) > 0:
            out["stop_grace"] = f"{grace}s"
        return out

    def keys(self) -> dict[str, Any]:
        out: dict[str, Any] = {}
        macros = Macros({}, env=self.env, note=lambda said: self.note("apiKeys", said))
        for at, key in enumerate(listed(self.raw.get("apiKeys")), start=1):
            text = macros.expand(key) if isinstance(key, str) else ""
            if "${" in text or not text.strip():
                self.note("apiKeys", f"key {at} has no value here; `hotseat key` makes one")
                continue
            key_hash = "sha256:" + hashlib.sha256(text.encode()).hexdigest()
            if any(other["hash"] == key_hash for other in out.values()):
                self.note("apiKeys", f"key {at} stands there twice")
                continue
            out[f"key-{at}"] = {"hash": key_hash}
        if out:
            self.note("apiKeys", "each may use every model; `admin: true` opens /ui and /metrics to its bearer too")
        return out

    def preloaded(self) -> set[str]:
        startup = mapped(mapped(self.raw.get("hooks")).get("on_startup"))
        names = {str(item) for item in listed(startup.get("preload"))}
        for missing in sorted(names - self._models()):
            self.note("hooks.on_startup.preload", f"{missing} is no model here")
        if startup.get("profile"):
            self.note("hooks.on_startup.profile", "there are no profiles here; see `profiles`")
        return names

    def pinned(self) -> set[str]:
        """Members of persistent groups, wherever this version of the file has its groups."""
        settings = mapped(mapped(mapped(self.raw.get("routing")).get("router")).get("settings"))
        if settings.get("matrix"):
            self.note("routing.router.settings.matrix", remarks.MATRIX)
        out: set[str] = set()
        for where, groups in (
            ("groups", self.raw.get("groups")),
            ("routing.router.settings.groups", settings.get("groups")),
        ):
            for name, group in mapped(groups).items():
                if not isinstance(group, dict):
                    continue
                members = [str(item) for item in listed(group.get("members"))]
                if group.get("persistent"):
                    out.update(members)
                    self.note(f"{where}.{name}", f"is persistent: {', '.join(members)} became `pinned`")
                else:
                    self.note(f"{where}.{name}", remarks.TOGETHER)
        return out

    def priorities(self) -> dict[str, int]:
        scheduler = mapped(mapped(self.raw.get("routing")).get("scheduler"))
        given = mapped(mapped(mapped(scheduler.get("settings")).get("fifo")).get("priority"))
        where = "routing.scheduler.settings.fifo.priority"
        out: dict[str, int] = {}
        for name, value in given.items():
            model, asked = str(name), number(value, 0)
            if model not in self._models():
                self.note(where, f"{model} is no model here")
                continue
            out[model] = max(-MOST_PRIORITY, min(MOST_PRIORITY, asked))
            if out[model] != asked:
                self.note(where, f"{model}: {asked} became {out[model]}, which is as far as it goes")
        return out

    def selected(self) -> dict[str, list[str]]:
        """Names that selectors make, by the model that they lead to here: the first of their targets."""
        out: dict[str, list[str]] = {}
        for name, selector in mapped(self.raw.get("selectors")).items():
            where, given = f"selectors.{name}", mapped(selector)
            targets = [model for item in listed(given.get("targets")) if (model := str(item)) in self._models()]
            if str(name) in self._models():
                self.note(where, "is a model's name already; left out")
            elif not targets:
                self.note(where, "none of its targets is a model here; left out")
            else:
                out.setdefault(targets[0], []).append(str(name))
                if given.get("strategy") != "pin":
                    self.note(where, f"always goes to {targets[0]} here: a name belongs to one workload")
        return out

    def _models(self) -> set[str]:
        return {str(name) for name in mapped(self.raw.get("models"))}
