"""A llama-swap configuration as a hotseat.yaml, and what has no equivalent. Pure but for `env`, which is given.

Written against llama-swap's config.example.yaml of November 2026; names of earlier versions are known too.
"""

from __future__ import annotations

import hashlib
import re
import shlex
import urllib.parse
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import yaml

from hotseat.config.importing import docker_run
from hotseat.config.importing.macros import Macros
from hotseat.config.importing.render import render
from hotseat.config.mistakes import check_workload
from hotseat.errors import ConfigError

FIRST_PORT = 5800
SHORTEST_TIMEOUT = 15
_UNFIT = re.compile(r"[^a-z0-9._-]+")
_NOTHING = "has no equivalent"
_GLOBAL = {
    "matrix": "hotseat seats together whatever fits; use `pinned` and `priority` for who must stay",
    "peers": "hotseat serves this host's engines only; put a router in front for others",
    "sendLoadingState": "a waiting stream gets SSE comments instead (`gateway.keepalive`)",
    "includeAliasesInList": "/v1/models lists every name",
    "metricsMaxInMemory": "hotseat keeps Prometheus metrics at /metrics",
    "captureBuffer": _NOTHING,
    "logLevel": "`hotseat up --verbose` logs more",
    "logToStdout": "`hotseat logs NAME` shows an engine's output",
    "logTimeFormat": _NOTHING,
    "logRequests": _NOTHING,
    "profiles": "hotseat seats together whatever fits",
}
_MODEL = {
    "useModelName": "the engine gets the name that the client sent: give it that one (--alias, --served-model-name)",
    "filters": "bodies pass as they are; nothing is removed from or set in them",
    "concurrencyLimit": "`keys.NAME.max_concurrent` limits a bearer, `max_queue` who waits",
    "unlisted": "every model is listed; `keys.NAME.models` says who may use it",
    "name": "/v1/models shows no display name",
    "description": "/v1/models shows no description",
    "metadata": "/v1/models shows none",
    "sendLoadingState": "a waiting stream gets SSE comments instead (`gateway.keepalive`)",
    "timeouts": "`gateway.max_silence` is how long an engine may say nothing",
}
_KNOWN_MODEL = {*_MODEL, "cmd", "cmdStop", "proxy", "aliases", "env", "ttl", "checkEndpoint", "macros"}
_KNOWN_GLOBAL = {
    *_GLOBAL,
    "models",
    "macros",
    "groups",
    "hooks",
    "apiKeys",
    "startPort",
    "globalTTL",
    "healthCheckTimeout",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Note:
    """Something that has no equivalent, or that a person should look at."""

    where: str
    """As "models.NAME.filters"."""
    message: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Converted:
    text: str
    """A hotseat.yaml that reads without mistakes."""
    workloads: tuple[str, ...]
    left_out: tuple[str, ...]
    """Models that could not be converted; they stand in `text` as comments."""
    notes: tuple[Note, ...]


def convert(text: str, *, env: Mapping[str, str], name: str = "the file") -> Converted:
    """`ConfigError`: it is no llama-swap configuration."""
    try:
        raw = yaml.safe_load(text)
    except (yaml.YAMLError, RecursionError, ValueError) as error:
        raise ConfigError(f"{name} is not YAML: {error}", hint="is it the right file?") from error
    if not isinstance(raw, dict) or not isinstance(raw.get("models"), dict) or not raw["models"]:
        raise ConfigError(f"{name} has no `models`", hint="give a llama-swap configuration, such as its config.yaml")
    return _Import(raw, env).result()


@dataclass(slots=True)
class _Import:
    raw: dict[Any, Any]
    env: Mapping[str, str]
    notes: list[Note] = field(default_factory=list)
    owners: dict[str, str] = field(default_factory=dict)
    """Model name -> workload."""

    def note(self, where: str, message: str) -> None:
        if (found := Note(where=where, message=message)) not in self.notes:
            self.notes.append(found)

    def result(self) -> Converted:
        raw = self.raw
        for key in raw:
            if key in _GLOBAL:
                self.note(str(key), _GLOBAL[key])
            elif key not in _KNOWN_GLOBAL:
                self.note(str(key), _NOTHING)
        head: dict[str, Any] = {}
        if keys := self._keys():
            head["keys"] = keys
        if defaults := self._defaults():
            head["defaults"] = defaults
        workloads: dict[str, dict[str, Any]] = {}
        left_out: dict[str, dict[str, Any]] = {}
        preload, pinned = self._preload(), self._persistent()
        port = _number(raw.get("startPort"), FIRST_PORT)
        for identity in sorted(raw["models"], key=str):
            model, given = str(identity), raw["models"][identity]
            if not isinstance(given, dict):
                self.note(f"models.{model}", "is no mapping; left out")
                left_out[_unique(model, {**workloads, **left_out})] = {}
                continue
            name = _unique(model, {**workloads, **left_out})
            settings, used_port, fits = self._workload(model, name, given, port)
            port += used_port
            if model in preload:
                settings["preload"] = True
            if model in pinned:
                settings["pinned"] = True
            (workloads if fits and self._valid(model, settings) else left_out)[name] = settings
        by_name: dict[str, list[str]] = {}
        for name, settings in {**workloads, **left_out}.items():
            where = f"models.{settings.get('models', [name])[0]}"
            by_name[name] = [
                f"{n.where.removeprefix(where).lstrip('.')}: {n.message}".removeprefix(": ")
                for n in self.notes
                if n.where == where or n.where.startswith(where + ".")
            ]
        general = [f"{n.where}: {n.message}" for n in self.notes if not n.where.startswith("models.")]
        return Converted(
            text=render(head, workloads, left_out, notes=by_name, general=general),
            workloads=tuple(workloads),
            left_out=tuple(left_out),
            notes=tuple(self.notes),
        )

    def _workload(self, model: str, name: str, given: dict[str, Any], port: int) -> tuple[dict[str, Any], int, bool]:
        """Its settings, 1 if it took a port, and whether it can be converted."""
        where = f"models.{model}"
        settings: dict[str, Any] = {"models": self._models(model, name, given)}
        own, common = given.get("macros"), self.raw.get("macros")
        values = {**(common if isinstance(common, dict) else {}), **(own if isinstance(own, dict) else {})}
        macros = Macros(
            {**values, "PORT": port, "MODEL_ID": model}, env=self.env, note=lambda said: self.note(where, said)
        )
        try:
            argv = _arguments(macros.expand(str(given.get("cmd") or "")))
            proxy = macros.expand(
                str(given.get("proxy") or ("" if "PORT" not in macros.used else "http://127.0.0.1:${PORT}"))
            )
            check = macros.expand(str(given.get("checkEndpoint") or ""))
            environment = [macros.expand(str(item)) for item in _list(given.get("env")) if isinstance(item, str)]
        except ValueError as error:
            self.note(f"{where}.cmd", f"cannot be read: {error}; left out")
            return settings, 0, False
        if not argv:
            self.note(f"{where}.cmd", "is missing; left out")
            return settings, 0, False
        env = dict(item.partition("=")[::2] for item in environment)
        self._run(where, argv, settings)
        if "image" not in settings and env:
            settings["env"] = env
        elif env:
            self.note(f"{where}.env", "was for the docker or podman command, not for what runs inside")
        self._address(where, proxy, settings)
        self._timing(where, given, check, settings)
        for key in given:
            if key in _MODEL and given[key] not in (None, "", 0, False, {}, []):
                self.note(f"{where}.{key}", _MODEL[key])
            elif key not in _KNOWN_MODEL:
                self.note(f"{where}.{key}", _NOTHING)
        stop = str(given.get("cmdStop") or "")
        if stop and not re.match(r"\s*(docker|podman)\s+(stop|kill|rm)\b", stop):
            self.note(f"{where}.cmdStop", "hotseat stops by SIGTERM, and SIGKILL after `stop_grace`")
        return settings, int("PORT" in macros.used), True

    def _models(self, model: str, name: str, given: dict[str, Any]) -> list[str]:
        self.owners.setdefault(model, name)
        found = [model]
        aliases = given.get("aliases") or []
        for alias in aliases if isinstance(aliases, list) else [aliases]:
            text = str(alias.get("id") or "") if isinstance(alias, dict) else str(alias)
            if not text or text in found:
                continue
            other = self.owners.setdefault(text, name)
            if other != name or (text != model and text in map(str, self.raw["models"])):
                self.note(f"models.{model}.aliases", f"{text} belongs to another model already; left out")
            else:
                found.append(text)
        return found

    def _run(self, where: str, argv: list[str], settings: dict[str, Any]) -> None:
        program = argv[0].rsplit("/", 1)[-1]
        words = argv[1:]
        if program in ("docker", "podman") and words[:1] == ["container"]:
            words = words[1:]
        if program in ("docker", "podman") and words[:1] == ["run"]:
            settings["platform"] = program
            try:
                parsed = docker_run.parse(words[1:])
            except ValueError as error:
                self.note(f"{where}.cmd", f"{program} run: {error}")
                return
            settings.update(parsed.settings)
            for said in parsed.notes:
                self.note(f"{where}.cmd", said)
            return
        settings["platform"] = "process"
        settings["command"] = argv
        if program in ("sh", "bash", "dash", "zsh"):
            self.note(f"{where}.cmd", "runs by a shell: end it with `exec`, so that the engine gets the signals")
        elif program in ("docker", "podman"):
            self.note(
                f"{where}.cmd", f"{program} {words[0] if words else ''} is no workload; name the container instead"
            )

    def _address(self, where: str, proxy: str, settings: dict[str, Any]) -> None:
        if not proxy:
            self.note(f"{where}.proxy", "is missing, and ${PORT} is not used: say where its engine listens")
            return
        try:
            url = urllib.parse.urlsplit(proxy)
            local = url.scheme == "http" and url.hostname in ("localhost", "127.0.0.1") and url.path in ("", "/")
            port = url.port
        except ValueError:
            self.note(f"{where}.proxy", f"{proxy} is no address")
            return
        if local and port is not None and settings.get("platform") == "process":
            settings["port"] = port
        else:
            settings["url"] = proxy

    def _timing(self, where: str, given: dict[str, Any], check: str, settings: dict[str, Any]) -> None:
        if check == "none":
            self.note(
                f"{where}.checkEndpoint", "hotseat asks every engine whether it can serve: `health` must answer 2xx"
            )
        elif check:
            settings["health"] = check if check.startswith("/") else f"/{check}"
        ttl = _number(given.get("ttl"), -1)
        if ttl > 0:
            settings["idle_timeout"] = f"{ttl}s"
        elif ttl == 0 and _number(self.raw.get("globalTTL"), 0) > 0:
            settings["idle_timeout"] = "off"
        if ttl > 0:
            self.note(
                f"{where}.ttl",
                "parks it, which frees the GPU and keeps it warm; `idle: stop` ends it as llama-swap did",
            )

    def _defaults(self) -> dict[str, Any]:
        out: dict[str, Any] = {}
        if (timeout := _number(self.raw.get("healthCheckTimeout"), 0)) > 0:
            out["start_timeout"] = f"{max(timeout, SHORTEST_TIMEOUT)}s"
        if (ttl := _number(self.raw.get("globalTTL"), 0)) > 0:
            out["idle_timeout"] = f"{ttl}s"
        return out

    def _keys(self) -> dict[str, Any]:
        given = self.raw.get("apiKeys") or []
        out: dict[str, Any] = {}
        macros = Macros({}, env=self.env, note=lambda said: self.note("apiKeys", said))
        for number, key in enumerate(_list(given), start=1):
            text = macros.expand(key) if isinstance(key, str) else ""
            if "${" in text or not text.strip():
                self.note("apiKeys", f"key {number} has no value here; `hotseat key` makes one")
                continue
            key_hash = "sha256:" + hashlib.sha256(text.encode()).hexdigest()
            if any(other["hash"] == key_hash for other in out.values()):
                self.note("apiKeys", f"key {number} stands there twice")
                continue
            out[f"key-{number}"] = {"hash": key_hash}
        return out

    def _preload(self) -> set[str]:
        hooks = self.raw.get("hooks")
        startup = hooks.get("on_startup") if isinstance(hooks, dict) else None
        given = startup.get("preload") if isinstance(startup, dict) else None
        names = {str(item) for item in given} if isinstance(given, list) else set()
        for missing in sorted(names - set(map(str, self.raw["models"]))):
            self.note("hooks.on_startup.preload", f"{missing} is no model here")
        return names

    def _persistent(self) -> set[str]:
        groups = self.raw.get("groups")
        out: set[str] = set()
        for name, group in groups.items() if isinstance(groups, dict) else ():
            if not isinstance(group, dict):
                continue
            members = [str(item) for item in _list(group.get("members"))]
            if group.get("persistent"):
                out.update(members)
                self.note(f"groups.{name}", f"is persistent: {', '.join(members)} became `pinned`")
            else:
                self.note(f"groups.{name}", "hotseat seats together whatever fits, and parks the others")
        return out

    def _valid(self, model: str, settings: dict[str, Any]) -> bool:
        made, mistakes = check_workload(settings)
        for mistake in mistakes:
            at = ".".join(map(str, mistake.at))
            self.note(f"models.{model}", f"{at + ': ' if at else ''}{mistake}; left out")
        return made is not None and not mistakes


def _arguments(cmd: str) -> list[str]:
    """As llama-swap splits it: lines that begin with # are comments, a backslash at the end of a line goes on."""
    lines = [line for line in cmd.splitlines() if not line.lstrip().startswith("#")]
    return shlex.split("\n".join(lines).replace("\\\n", " "))


def _unique(model: str, taken: Mapping[str, object]) -> str:
    base = _UNFIT.sub("-", model.lower())[:60].strip("._-") or "model"
    name, number = base, 1
    while name in taken:
        number += 1
        name = f"{base}-{number}"
    return name


def _list(value: Any) -> list[Any]:
    return value if isinstance(value, list) else []


def _number(value: Any, default: int) -> int:
    return value if isinstance(value, int) and not isinstance(value, bool) else default
