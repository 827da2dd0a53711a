"""What is no mistake in a hotseat.yaml and yet probably not meant. Pure."""

from __future__ import annotations

import urllib.parse
from collections.abc import Iterator
from dataclasses import dataclass

from hotseat.config.model import Config
from hotseat.config.run import publish_parts
from hotseat.config.units import format_size
from hotseat.config.workload import Workload

_LOCAL = ("127.0.0.1", "localhost", "::1", "0.0.0.0")


@dataclass(frozen=True, slots=True, kw_only=True)
class Advice:
    at: tuple[str | int, ...]
    """The setting that it is about."""
    message: str


def advice(config: Config) -> list[Advice]:
    """In the order of the file."""
    return [*_gateway(config), *_addresses(config), *_room(config), *_without_effect(config)]


def _gateway(config: Config) -> Iterator[Advice]:
    if config.gateway.public and config.keys:
        yield Advice(at=("gateway", "public"), message="has no effect: there are `keys`, and every request needs one")


def _addresses(config: Config) -> Iterator[Advice]:
    owners: dict[tuple[str, int], str] = {}
    published: dict[int, str] = {}
    for name, workload in config.workloads.items():
        where = ("workloads", name)
        if (listens := _listens(workload)) is not None:
            field = "url" if workload.url else "port"
            if config.gateway.port and listens == ("127.0.0.1", config.gateway.port):
                yield Advice(
                    at=(*where, field), message="is the gateway itself: its requests would go round in a circle"
                )
            if (other := owners.setdefault(listens, name)) != name:
                said = f"workload {other} listens at {listens[0]}:{listens[1]} too: only one of them can"
                yield Advice(at=(*where, field), message=said)
        for index, text in enumerate(workload.run.publish):
            port = publish_parts(text)[1]
            if (other := published.setdefault(port, name)) != name:
                said = f"workload {other} publishes port {port} too: only one of them can start"
                yield Advice(at=(*where, "run", "publish", index), message=said)


def _listens(workload: Workload) -> tuple[str, int] | None:
    """An address of this host that is known without asking a platform."""
    if workload.url is None:
        return ("127.0.0.1", workload.port) if workload.platform == "process" and workload.port else None
    url = urllib.parse.urlsplit(workload.url)
    host = "127.0.0.1" if url.hostname in _LOCAL else url.hostname or ""
    return host, url.port or (443 if url.scheme == "https" else 80)


def _room(config: Config) -> Iterator[Advice]:
    for index, cap in config.caps().items():
        needs = {name: (w.gpu_memory or {}).get(index, 0) for name, w in config.workloads.items()}
        pinned = sum(need for name, need in needs.items() if config.workloads[name].pinned)
        wanted = sum(need for name, need in needs.items() if config.workloads[name].preload)
        for name, need in needs.items():
            at = ("workloads", name, "gpu_memory")
            if need > cap:
                said = f"{format_size(need)} can never sit on device {index}: its cap is {format_size(cap)}"
                yield Advice(at=at, message=said)
            elif need and not config.workloads[name].pinned and need + pinned > cap:
                left = format_size(max(0, cap - pinned))
                yield Advice(at=at, message=f"can never sit on device {index}: what is pinned leaves {left} of its cap")
        if wanted > cap >= max(needs.values(), default=0):
            said = f"workloads with `preload` need {format_size(wanted)} of device {index}: not all of them will sit"
            yield Advice(at=("devices", index, "cap"), message=said)
        if pinned > cap:
            said = f"what is pinned needs {format_size(pinned)} of device {index}: it can never sit together"
            yield Advice(at=("devices", index, "cap"), message=said)


def _without_effect(config: Config) -> Iterator[Advice]:
    priorities = {workload.priority for workload in config.workloads.values()}
    same = len(priorities) == 1 and not any(key.priority for key in config.keys.values())
    alone = not (config.discovery.docker or config.discovery.podman)
    for name, workload in config.workloads.items():
        where = ("workloads", name)
        if same and alone and workload.priority:
            yield Advice(at=(*where, "priority"), message="has no effect: every workload has the same")
        if workload.idle == "stop" and workload.idle_timeout is None and "idle" in workload.model_fields_set:
            yield Advice(at=(*where, "idle"), message="has no effect without `idle_timeout`")
        if workload.hooks.before_park and workload.drain is None:
            said = "an engine that is put to sleep may lose answers in the middle; give it a `drain` such as 30s"
            yield Advice(at=(*where, "hooks", "before_park"), message=said)
