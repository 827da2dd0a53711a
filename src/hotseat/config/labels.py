"""A container's labels as a workload, or its mistakes. Pure.

`hotseat.model` makes a container a workload; every other setting has a label of its own name. What stands there is
checked by the same model as `hotseat.yaml`. Where labels say nothing the container itself does: its name (or its
service's, in a compose file) and its only exposed port.
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import yaml
from pydantic import TypeAdapter, ValidationError

from hotseat.config.base import Name, Wrong
from hotseat.config.fill import filled
from hotseat.config.mistakes import check_workload
from hotseat.config.workload import Defaults, Workload

PREFIX = "hotseat."
MODEL = PREFIX + "model"
MADE_FROM = PREFIX + "made-from"
"""What hotseat puts on containers that it makes of the file: those are the file's, never discovered."""
_SERVICE = ("com.docker.compose.service", "io.podman.compose.service")
_REPLICA = ("com.docker.compose.container-number", "io.podman.compose.container-number")

_NOT_BY_LABEL = frozenset(
    {"platform", "container", "models", "image", "command", "env", "workdir", "run", "hooks", "interposed"}
)
"""The container is made already, and says which it is; hooks are for the file. The interposer
comes with a container's making."""
_ALIASES = {"pin": "pinned"}
SETTINGS = tuple(name for name in Workload.model_fields if name not in _NOT_BY_LABEL)
"""Each may stand as hotseat.SETTING."""
KNOWN = ("model", "name", *SETTINGS, *_ALIASES)
_FOREIGN = frozenset({"models", "made-from", "demo"})
"""Labels of hotseat's own that say nothing about discovery."""
_UNFIT = re.compile(r"[^a-z0-9._-]+")


@dataclass(frozen=True, slots=True, kw_only=True)
class Labelled:
    """What the labels of one container make of it: `workload`, or `mistakes`."""

    name: str
    workload: Workload | None = None
    mistakes: tuple[str, ...] = ()
    """Each with the label that it is about, and what to write instead."""


def wanted(labels: Mapping[str, str]) -> bool:
    """Whether the container asks to be adopted."""
    return MODEL in labels and MADE_FROM not in labels


def read(
    labels: Mapping[str, str], *, platform: str, container: str, ports: Sequence[int], defaults: Defaults
) -> Labelled:
    """`container` is its name, `ports` are those that it exposes. Never raises for what a label says."""
    own = {key.removeprefix(PREFIX): value.strip() for key, value in labels.items() if key.startswith(PREFIX)}
    mistakes = [f"{PREFIX}{key}: {said}" for key in own if (said := _unknown(key))]
    name = own.get("name") or _name(labels, container)
    try:
        TypeAdapter(Name).validate_python(name)
    except ValidationError as error:
        mistakes += [f"{PREFIX}name: {item['ctx']['error']}" for item in error.errors()]
    models = [model.strip() for model in own[MODEL.removeprefix(PREFIX)].split(",") if model.strip()]
    if not models:
        mistakes.append(f"{MODEL}: names no model; write one, or several with commas between them")
    values: dict[str, Any] = {"platform": platform, "container": container, "models": models or ["none"]}
    for key, value in own.items():
        setting = _ALIASES.get(key, key)
        if setting not in SETTINGS:
            continue
        if setting in values:
            mistakes.append(f"{PREFIX}{key}: is the same as {PREFIX}{setting}, which stands there too")
            continue
        try:
            values[setting] = _gpu_memory(value) if setting == "gpu_memory" else value
        except ValueError as error:
            mistakes.append(f"{PREFIX}{key}: {error}")
    if "url" not in values and "port" not in values:
        if len(ports) == 1:
            values["port"] = ports[0]
        else:
            found = f"it exposes {', '.join(map(str, ports))}" if ports else "it exposes none"
            mistakes.append(f"{PREFIX}port: say where its engine listens ({found}), or give {PREFIX}url")
            values["port"] = 1  # so that the rest is checked too
    workload, wrong = check_workload(values)
    mistakes += [f"{PREFIX + str(mistake.at[0]) if mistake.at else MODEL}: {mistake}" for mistake in wrong]
    if mistakes or workload is None:
        return Labelled(name=name, mistakes=tuple(mistakes))
    return Labelled(name=name, workload=filled(name, workload, defaults))


def _name(labels: Mapping[str, str], container: str) -> str:
    """The service's name in a compose file, with its number but for the first of several; else the container's."""
    service = next((labels[key] for key in _SERVICE if labels.get(key)), None)
    if service is None:
        return _fit(container)
    number = next((labels[key] for key in _REPLICA if labels.get(key)), "1")
    return _fit(service if number == "1" else f"{service}-{number}")


def _fit(name: str) -> str:
    """Platforms allow upper case and longer names than hotseat does; nobody chose those for us."""
    return _UNFIT.sub("-", name.lower())[:64].strip("._-") or name


def _unknown(key: str) -> str:
    if key in KNOWN or key in _FOREIGN:
        return ""
    if key in _NOT_BY_LABEL:
        return "belongs in hotseat.yaml, a label cannot say it"
    near = difflib.get_close_matches(key.replace("-", "_"), KNOWN, n=1)
    return f"unknown label; did you mean `{PREFIX}{near[0]}`?" if near else f"unknown label; known: {', '.join(KNOWN)}"


def _gpu_memory(value: str) -> Any:
    """ "20GiB", or "0: 20GiB, 1: 20GiB", with braces or without."""
    if ":" not in value:
        return value
    try:
        pairs = yaml.safe_load("{" + value.strip("{} ") + "}")
    except yaml.YAMLError as error:
        raise Wrong(f"{value!r} is not a size for each device", 'write "20GiB", or "0: 20GiB, 1: 20GiB"') from error
    return pairs
