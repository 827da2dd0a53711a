"""A llama-swap configuration as a hotseat.yaml, and what has no equivalent. Pure but for `env`, which is given."""

from __future__ import annotations

import re
import shlex
import urllib.parse
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import yaml

from hotseat.config.importing import docker_run
from hotseat.config.importing import llama_swap_remarks as remarks
from hotseat.config.importing.llama_swap_general import General, listed, mapped, number
from hotseat.config.importing.macros import Macros
from hotseat.config.importing.render import render
from hotseat.config.mistakes import check_workload
from hotseat.errors import ConfigError

FIRST_PORT = 5800
_UNFIT = re.compile(r"[^a-z0-9._-]+")


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
    selected: dict[str, list[str]] = field(default_factory=dict)
    """Model -> names of selectors that lead to it."""

    def note(self, where: str, message: str) -> None:
        if (found := Note(where=where, message=message)) not in self.notes:
            self.notes.append(found)

    def result(self) -> Converted:
        raw, general = self.raw, General(self.raw, self.env, self.note)
        general.remark()
        head: dict[str, Any] = {}
        if keys := general.keys():
            head["keys"] = keys
        if defaults := general.defaults():
            head["defaults"] = defaults
        workloads: dict[str, dict[str, Any]] = {}
        left_out: dict[str, dict[str, Any]] = {}
        preload, pinned, priorities = general.preloaded(), general.pinned(), general.priorities()
        self.selected = general.selected()
        port = number(raw.get("startPort"), FIRST_PORT)
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
            elif settings.get("platform") == "process":
                settings["preload"] = False  # llama-swap starts nothing before it is asked for
            if model in pinned:
                settings["pinned"] = True
            if priorities.get(model):
                settings["priority"] = priorities[model]
            (workloads if fits and self._valid(model, settings) else left_out)[name] = settings
        by_name: dict[str, list[str]] = {}
        for name, settings in {**workloads, **left_out}.items():
            where = f"models.{settings.get('models', [name])[0]}"
            by_name[name] = [
                f"{n.where.removeprefix(where).lstrip('.')}: {n.message}".removeprefix(": ")
                for n in self.notes
                if n.where == where or n.where.startswith(where + ".")
            ]
        top = [f"{n.where}: {n.message}" for n in self.notes if not n.where.startswith("models.")]
        return Converted(
            text=render(head, workloads, left_out, notes=by_name, general=top),
            workloads=tuple(workloads),
            left_out=tuple(left_out),
            notes=tuple(self.notes),
        )

    def _workload(self, model: str, name: str, given: dict[str, Any], port: int) -> tuple[dict[str, Any], int, bool]:
        """Its settings, 1 if it took a port, and whether it can be converted."""
        where = f"models.{model}"
        settings: dict[str, Any] = {"models": [model]}
        self.owners.setdefault(model, name)
        values = {**mapped(self.raw.get("macros")), **mapped(given.get("macros"))}
        macros = Macros(
            {**values, "PORT": port, "MODEL_ID": model}, env=self.env, note=lambda said: self.note(where, said)
        )
        try:
            argv = _arguments(macros.expand(str(given.get("cmd") or "")))
            proxy = macros.expand(
                str(given.get("proxy") or ("" if "PORT" not in macros.used else "http://127.0.0.1:${PORT}"))
            )
            check = macros.expand(str(given.get("checkEndpoint") or ""))
            environment = [macros.expand(str(item)) for item in listed(given.get("env")) if isinstance(item, str)]
            ttl, grace = (_expanded(given.get(key), macros) for key in ("ttl", "unloadTimeout"))
            settings["models"] = self._models(model, name, given, macros)
        except ValueError as error:
            self.note(f"{where}.cmd", f"cannot be read: {error}; left out")
            return settings, 0, False
        for used in sorted(macros.used):
            if used.startswith("env.") and used.removeprefix("env.") in self.env:
                self.note(where, f"${{{used}}}: its value stands in the result; if that is a secret, so is the file")
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
        self._timing(where, check, settings, ttl=ttl, grace=grace)
        for key in given:
            if key in remarks.MODEL and given[key] not in (None, "", 0, False, {}, []):
                self.note(f"{where}.{key}", remarks.MODEL[key])
            elif key not in remarks.KNOWN_MODEL:
                self.note(f"{where}.{key}", remarks.NOTHING)
        stop = str(given.get("cmdStop") or "")
        if stop and not re.match(r"\s*(docker|podman)\s+(stop|kill|rm)\b", stop):
            self.note(f"{where}.cmdStop", "hotseat stops by SIGTERM, and SIGKILL after `stop_grace`")
        return settings, int("PORT" in macros.used), True

    def _models(self, model: str, name: str, given: dict[str, Any], macros: Macros) -> list[str]:
        """Its own name and all others by which clients reach it, none of them another workload's."""
        aliases = given.get("aliases") or []
        further = [("aliases", alias) for alias in (aliases if isinstance(aliases, list) else [aliases])]
        # Parameters by name make those names, and an engine that knows another name is reached by that too.
        further += [("filters.setParamsByID", key) for key in mapped(mapped(given.get("filters")).get("setParamsByID"))]
        further.append(("useModelName", given.get("useModelName") or ""))
        further += [("selectors", key) for key in self.selected.get(model, ())]
        found = [model]
        for said, value in further:
            text = macros.expand(str(value.get("id") or "") if isinstance(value, dict) else str(value))
            if not text or text in found:
                continue
            other = self.owners.setdefault(text, name)
            if other != name or text in map(str, self.raw["models"]):
                self.note(f"models.{model}.{said}", f"{text} belongs to another model already; left out")
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

    def _timing(self, where: str, check: str, settings: dict[str, Any], *, ttl: int, grace: int) -> None:
        if check == "none":
            settings["health"] = "/"
            self.note(
                f"{where}.checkEndpoint",
                "hotseat asks every engine whether it can serve: `health` must answer 2xx, and / is a guess",
            )
        elif check:
            settings["health"] = check if check.startswith("/") else f"/{check}"
        if grace > 0:
            settings["stop_grace"] = f"{grace}s"
        if ttl > 0:
            settings["idle_timeout"] = f"{ttl}s"
            self.note(
                f"{where}.ttl",
                "parks it, which frees the GPU and keeps it warm; `idle: stop` ends it as llama-swap did",
            )
        elif ttl == 0 and number(self.raw.get("globalTTL"), 0) > 0:
            settings["idle_timeout"] = "off"

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
    name, count = base, 1
    while name in taken:
        count += 1
        name = f"{base}-{count}"
    return name


def _expanded(value: Any, macros: Macros) -> int:
    """A number, or a macro that stands for one; -1: neither."""
    text = macros.expand(value).strip() if isinstance(value, str) else ""
    return int(text) if text.isascii() and text.isdigit() and len(text) < 10 else number(value, -1)
