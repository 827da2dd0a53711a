"""The arguments of `docker run` or `podman run` as settings of a workload. Pure; nothing is guessed in silence."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

_VALUES = {
    "name": "name",
    "e": "env",
    "env": "env",
    "v": "volume",
    "volume": "volume",
    "p": "publish",
    "publish": "publish",
    "gpus": "gpus",
    "net": "network",
    "network": "network",
    "shm-size": "shm_size",
    "m": "memory",
    "memory": "memory",
    "u": "user",
    "user": "user",
    "w": "workdir",
    "workdir": "workdir",
    "ulimit": "ulimit",
    "l": "label",
    "label": "label",
    "entrypoint": "entrypoint",
    "device": "device",
    "runtime": "runtime",
}
_DROPPED = frozenset(
    {"rm", "d", "detach", "i", "interactive", "t", "tty", "it", "ti", "dit", "pull", "restart", "q", "quiet"}
)
"""hotseat keeps the container and starts it by itself: these mean nothing to it."""
_FLAGS = frozenset(
    {"init", "privileged", "read-only", "P", "publish-all", "no-healthcheck", "oom-kill-disable", "replace"}
)
"""Options without a value, beside those of `_DROPPED`."""
_WITH_VALUE = frozenset({"pull", "restart"})
_SIZE = re.compile(r"(\d+)\s*([bkmgt]?)(i?b)?", re.I)
_CDI = re.compile(r"nvidia\.com/gpu=(all|\d+)")


@dataclass(slots=True)
class Parsed:
    """`settings` are a workload's, but for where its engine listens."""

    settings: dict[str, Any] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)


def parse(arguments: Sequence[str]) -> Parsed:
    """`arguments` are those after `run`. `ValueError`: they name no image."""
    out = Parsed()
    run: dict[str, Any] = {"gpus": "none"}
    env: dict[str, str] = {}
    rest = list(arguments)
    while rest and rest[0].startswith("-") and rest[0] != "-":
        word = rest.pop(0)
        if word == "--":
            break
        option, equals, value = word.lstrip("-").partition("=")
        if not word.startswith("--") and len(word) > 2 and word[1] in "evpmuwl" and option not in _DROPPED:
            option, equals, value = word[1], "=", word[2:].removeprefix("=")
        if option in _DROPPED - _WITH_VALUE or (option in _FLAGS):
            if option in _FLAGS:
                out.notes.append(f"{word}: has no equivalent")
            continue
        if not equals:
            if not rest:
                raise ValueError(f"{word} lacks its value")
            value = rest.pop(0)
        if option in _WITH_VALUE:
            continue
        kind = _VALUES.get(option)
        if kind is None:
            said = f"--{option} {value}" if len(option) > 1 else word
            near = "; `run.shm_size` makes room in /dev/shm" if option == "ipc" else ""
            out.notes.append(f"{said}: has no equivalent{near}")
        elif kind == "name":
            out.settings["container"] = value
        elif kind == "env":
            name, given, text = value.partition("=")
            if given:
                env[name] = text
            else:
                out.notes.append(f"--env {name}: its value came from the environment of whoever ran it; write it here")
        else:
            _take(kind, value, run, out.notes)
    if not rest:
        raise ValueError("it names no image")
    out.settings["image"], *command = rest
    if command:
        out.settings["command"] = command
    if env:
        out.settings["env"] = env
    out.settings["run"] = run
    return out


def _take(kind: str, value: str, run: dict[str, Any], notes: list[str]) -> None:
    match kind:
        case "volume":
            source, colon, target = value.partition(":")
            target, _, mode = target.partition(":")
            if not colon:
                notes.append(f"--volume {value}: an anonymous volume is lost with its container; name it")
                return
            options = set(mode.split(",")) - {"", "rw"}
            if options - {"ro"}:
                notes.append(f"--volume {value}: only ro has an equivalent")
            run.setdefault("volumes", []).append(f"{source}:{target}" + (":ro" if "ro" in options else ""))
        case "publish":
            port = value.removesuffix("/tcp")
            if port.endswith("/udp") or ":" not in port or port.startswith(":"):
                notes.append(f"--publish {value}: write HOST_PORT:PORT_INSIDE")
                return
            run.setdefault("publish", []).append(port)
        case "gpus":
            _gpus(value, run, notes)
        case "runtime":
            if value == "nvidia":
                run["gpus"] = "all"
            else:
                notes.append(f"--runtime {value}: has no equivalent")
        case "device":
            if found := _CDI.fullmatch(value):
                run["gpus"] = "all" if found[1] == "all" else [*_indices(run), int(found[1])]
            else:
                path, _, other = value.partition(":")
                if other not in ("", path):
                    notes.append(f"--device {value}: it has the same path inside")
                run.setdefault("devices", []).append(path)
        case "shm_size" | "memory":
            if (size := _size(value)) is None:
                notes.append(f"--{kind.replace('_', '-')} {value}: is no size")
            else:
                run[kind] = size
        case "ulimit":
            name, _, limits = value.partition("=")
            soft = limits.partition(":")[0]
            if not soft.lstrip("-").isdigit():
                notes.append(f"--ulimit {value}: has no number")
            else:
                run.setdefault("ulimits", {})[name] = int(soft)
        case "label":
            name, _, text = value.partition("=")
            run.setdefault("labels", {})[name] = text
        case "entrypoint":
            run["entrypoint"] = [value]
        case _:
            run[kind] = value


def _gpus(value: str, run: dict[str, Any], notes: list[str]) -> None:
    text = value.strip("\"'")
    if text == "all":
        run["gpus"] = "all"
        return
    names = text.removeprefix("device=").split(",") if text.startswith("device=") else []
    if names and all(name.isascii() and name.isdigit() for name in names):
        run["gpus"] = [int(name) for name in names]
        return
    run["gpus"] = "all"
    notes.append(f"--gpus {value}: hotseat names devices by their index, so it is given all")


def _indices(run: dict[str, Any]) -> list[int]:
    return run["gpus"] if isinstance(run["gpus"], list) else []


def _size(value: str) -> str | None:
    match = _SIZE.fullmatch(value.strip())
    if match is None:
        return None
    unit = match[2].upper()
    return f"{match[1]}{'B' if unit in ('', 'B') else unit + 'iB'}"
