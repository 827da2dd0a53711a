"""What settings must keep together, beside the shape of each. Pure.

Looks at what was written, not at what was made of it: so a mistake elsewhere in the file hides none of these.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from hotseat.config.gateway import is_loopback

Broken = tuple[tuple[str | int, ...], str, str]
"""The setting that it is about, what is wrong, and what to do."""
_PLATFORMS = ("docker", "podman", "process")


def whole(raw: Any) -> Iterator[Broken]:
    """Of a `hotseat.yaml`. What has not the shape that it should have is passed over here."""
    given = _mapping(raw)
    yield from _reachable(given)
    yield from _same_keys(_mapping(given.get("keys")))
    workloads = _mapping(given.get("workloads"))
    finds = _mapping(given.get("discovery"))
    if not workloads and finds.get("docker") is False and finds.get("podman") is False:
        yield ("workloads",), "none, and `discovery` is off", "name a workload, or there is nothing to serve"
    for name, item in workloads.items():
        if isinstance(item, Mapping):
            for at, wrong, hint in workload(item):
                yield ("workloads", name, *at), wrong, hint
    yield from _claims(workloads)


def workload(given: Mapping[str, Any]) -> Iterator[Broken]:
    """Of one workload."""
    has = {name for name, value in given.items() if value is not None}
    platform = given.get("platform", "docker")
    if not has & {"url", "port"}:
        yield (), "its engine has no address", "give either `url` or `port`"
    if has >= {"url", "port"}:
        yield ("port",), "its engine has two addresses", "give either `url` or `port`, not both"
    if platform not in _PLATFORMS:
        return
    if platform == "process":
        if "command" not in has:
            yield (), "platform `process` has no `command`", "write a list: command: [vllm, serve, ...]"
        for field in ("container", "image"):
            if field in has:
                yield (field,), f"`{field}` is for docker and podman", "leave it out: a process has the workload's name"
    elif "image" not in has:
        for field in ("command", "env"):
            if given.get(field):
                hint = "name the image, or leave it out: a container has its own"
                yield (field,), f"`{field}` is for platform `process`, or with `image`", hint
    if platform != "process" and "workdir" in has:
        yield ("workdir",), "`workdir` is for platform `process`", "write `run.workdir` for a container"
    if given.get("interposed") is True and platform != "process" and "image" not in has:
        wrong = "a process gets the interposer when it is made, and hotseat does not make this one"
        yield ("interposed",), wrong, "leave it out; docs/store.md has how else it is made so"
    if "image" not in has and "run" in has:
        yield ("run",), "`run` says how the container of an `image` is made", "name the image, or leave it out"


def _reachable(given: Mapping[str, Any]) -> Iterator[Broken]:
    gateway = _mapping(given.get("gateway"))
    host = gateway.get("host", "127.0.0.1")
    if isinstance(host, str) and not is_loopback(host) and not given.get("keys") and gateway.get("public") is not True:
        hint = "set `keys` (`hotseat key` makes one), or `gateway.public: true` to let anyone in"
        yield ("gateway", "host"), f"{host} can be reached from other machines", hint


def _same_keys(keys: Mapping[Any, Any]) -> Iterator[Broken]:
    seen: dict[str, Any] = {}
    for name, key in keys.items():
        digest = _mapping(key).get("hash")
        if isinstance(digest, str) and (other := seen.setdefault(digest, name)) != name:
            yield ("keys", name, "hash"), f"keys.{other} has the same", f"make another: hotseat key {name}"


def _claims(workloads: Mapping[Any, Any]) -> Iterator[Broken]:
    """Two workloads that claim the same model or the same container."""
    models: dict[str, Any] = {}
    containers: dict[tuple[str, str], Any] = {}
    for name, item in workloads.items():
        given = _mapping(item)
        written = given.get("models")
        listed = list(enumerate(written)) if isinstance(written, list) else [(None, name)]
        for index, model in listed:
            if isinstance(model, str) and (owner := models.setdefault(model, name)) != name:
                at = ("workloads", name) if index is None else ("workloads", name, "models", index)
                yield at, f"model {model!r} already belongs to workload {owner!r}", "leave it to one of the two"
        platform, container = given.get("platform") or "docker", given.get("container") or name
        if isinstance(platform, str) and isinstance(container, str):
            owner = containers.setdefault((platform, container), name)
            if owner != name:
                wrong = f"{platform} container {container!r} already belongs to workload {owner!r}"
                yield ("workloads", name, "container"), wrong, "give one workload the `models` of both"


def _mapping(value: Any) -> Mapping[Any, Any]:
    return value if isinstance(value, Mapping) else {}
