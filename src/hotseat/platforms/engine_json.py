"""The Engine API's records to hotseat's and back. Pure, no I/O.

Written against Docker 20.10 (API 1.41) and Podman 4.3, whose compatibility API differs in words, not in shape.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any

from hotseat.errors import Refused
from hotseat.platforms.port import Container, EventKind, PlatformEvent, Status
from hotseat.platforms.spec import ContainerSpec

_STATUS = {
    "created": Status.CREATED,
    "configured": Status.CREATED,
    "initialized": Status.CREATED,
    "running": Status.RUNNING,
    "stopping": Status.RUNNING,
    "paused": Status.PAUSED,
    "restarting": Status.RESTARTING,
}

_EVENTS = {
    "create": EventKind.CREATED,
    "start": EventKind.STARTED,
    "die": EventKind.EXITED,
    "died": EventKind.EXITED,
    "pause": EventKind.PAUSED,
    "unpause": EventKind.UNPAUSED,
    "destroy": EventKind.REMOVED,
    "remove": EventKind.REMOVED,
    "rename": EventKind.RENAMED,
}
"""Docker says die and destroy, Podman died (before 4) or die, and remove."""


def container(platform: str, data: Mapping[str, Any], *, addresses: Sequence[str] | None = None) -> Container:
    """The answer of GET /containers/ID/json. `addresses` where the network is another container's."""
    state, config, host = data["State"], data.get("Config") or {}, data.get("HostConfig") or {}
    status = _STATUS.get(str(state["Status"]), Status.EXITED)
    alive = status in (Status.RUNNING, Status.PAUSED)
    return Container(
        platform=platform,
        id=data["Id"],
        name=str(data["Name"]).removeprefix("/"),
        image=str(config.get("Image") or data.get("Image") or ""),
        status=status,
        pid=(state.get("Pid") or None) if alive else None,
        started_at=seconds(state.get("StartedAt") or ""),
        labels=dict(config.get("Labels") or {}),
        exit_code=state.get("ExitCode") if status is Status.EXITED else None,
        shares_memory_limit=bool(host.get("Memory")),
        addresses=tuple(addresses if addresses is not None else own_addresses(data)),
        ports=exposed_ports(data),
        published=published_ports(data),
    )


def exposed_ports(data: Mapping[str, Any]) -> tuple[int, ...]:
    """Those of TCP. What is published is exposed; Podman lists only the former."""
    settings, host = data.get("NetworkSettings") or {}, data.get("HostConfig") or {}
    named = {
        *((data.get("Config") or {}).get("ExposedPorts") or {}),
        *(settings.get("Ports") or {}),
        *(host.get("PortBindings") or {}),
    }
    found = {port for port, _, protocol in (name.partition("/") for name in named) if protocol in ("", "tcp")}
    return tuple(sorted(int(port) for port in found if port.isascii() and port.isdigit()))


def published_ports(data: Mapping[str, Any]) -> dict[int, int]:
    """Inside -> host, of TCP. A container that does not run has none yet where the platform chooses them."""
    ports = (data.get("NetworkSettings") or {}).get("Ports") or (data.get("HostConfig") or {}).get("PortBindings") or {}
    found: dict[int, int] = {}
    for name, bindings in ports.items():
        inside, _, protocol = name.partition("/")
        hosts = [str(binding.get("HostPort") or "") for binding in bindings or ()]
        if protocol in ("", "tcp") and inside.isdigit() and hosts and hosts[0].isdigit() and int(hosts[0]):
            found[int(inside)] = int(hosts[0])
    return found


def own_addresses(data: Mapping[str, Any]) -> list[str]:
    """Where the host reaches it. Rootless networks have no address of their own, only published ports."""
    mode = str((data.get("HostConfig") or {}).get("NetworkMode") or "")
    if mode == "host":
        return ["127.0.0.1"]
    settings = data.get("NetworkSettings") or {}
    found = [settings.get("IPAddress"), settings.get("GlobalIPv6Address")]
    for network in (settings.get("Networks") or {}).values():
        found += [network.get("IPAddress"), network.get("GlobalIPv6Address")]
    addresses = list(dict.fromkeys(address for address in found if address))
    if not addresses and any((settings.get("Ports") or {}).values()):
        addresses = ["127.0.0.1"]
    return addresses


def network_owner(data: Mapping[str, Any]) -> str | None:
    """The container whose network this one shares, if it does."""
    mode = str((data.get("HostConfig") or {}).get("NetworkMode") or "")
    return mode.partition(":")[2] or None if mode.startswith("container:") else None


def event(platform: str, data: Mapping[str, Any]) -> PlatformEvent | None:
    """One line of GET /events; None for what is no change of a container's life (exec, kill, ...)."""
    kind = _EVENTS.get(str(data.get("Action") or data.get("status") or ""))
    if kind is None or data.get("Type", "container") != "container":
        return None
    actor = data.get("Actor") or {}
    identity = actor.get("ID") or data["id"]
    return PlatformEvent(
        kind=kind,
        key=f"{platform}:{identity}",
        name=str((actor.get("Attributes") or {}).get("name", identity[:12])),
        at=event_time(data),
    )


def event_time(data: Mapping[str, Any]) -> float:
    nanoseconds = int(data.get("timeNano") or 0)
    return nanoseconds / 1e9 if nanoseconds else float(data["time"])


def seconds(stamp: str) -> float:
    """RFC 3339 with nanoseconds to seconds since the epoch; 0 for "never" (the year 1)."""
    if not stamp or stamp.startswith("0001"):
        return 0.0
    return datetime.fromisoformat(stamp).timestamp()


def docker_create(spec: ContainerSpec) -> dict[str, Any]:
    """The body of POST /containers/create."""
    if spec.rootfs is not None:
        raise Refused("Docker runs images, not root file systems", rule="no rootfs", hint="import it as an image first")
    if cdi := [device for device in spec.devices if not device.startswith("/")]:
        raise Refused(f"{cdi[0]} is no device path", rule="no CDI", hint="name the device files: /dev/nvidia0, ...")
    binds = [f"{bind.source}:{bind.target}{':ro' if bind.read_only else ''}" for bind in spec.binds]
    binds += [f"{volume.name}:{volume.target}{':ro' if volume.read_only else ''}" for volume in spec.volumes]
    host: dict[str, Any] = {
        "NetworkMode": spec.network,
        "Binds": binds,
        "Devices": [{"PathOnHost": d, "PathInContainer": d, "CgroupPermissions": "rwm"} for d in spec.devices],
        "Ulimits": [{"Name": name, "Soft": value, "Hard": value} for name, value in spec.ulimits.items()],
        "CapAdd": list(spec.cap_add),
        "CapDrop": list(spec.cap_drop),
        "SecurityOpt": [] if spec.seccomp else ["seccomp=unconfined"],
        "CgroupnsMode": "private" if spec.private_cgroups else "host",
    }
    if spec.memory_limit is not None:
        # Swap off: a parked container must not be thinned out to disk behind our back. MemorySwap counts both.
        host |= {"Memory": spec.memory_limit, "MemorySwap": spec.memory_limit}
    if spec.shm_size is not None:
        host["ShmSize"] = spec.shm_size
    if spec.gpus:
        chosen = {"Count": -1} if spec.gpus == "all" else {"DeviceIDs": [str(index) for index in spec.gpus]}
        host["DeviceRequests"] = [{"Driver": "", "Capabilities": [["gpu"]], **chosen}]
    if spec.publish:
        host["PortBindings"] = {}
        for port in spec.publish:
            bound = {"HostIp": port.address, "HostPort": str(port.host)}
            host["PortBindings"].setdefault(f"{port.inside}/tcp", []).append(bound)
    body: dict[str, Any] = {
        "Image": spec.image,
        "Cmd": list(spec.command),
        "Env": [f"{name}={value}" for name, value in spec.env.items()],
        "Labels": dict(spec.labels),
        "WorkingDir": spec.workdir or "",
        "User": spec.user or "",
        "HostConfig": host,
    }
    if exposed := {*spec.expose, *(port.inside for port in spec.publish)}:
        body["ExposedPorts"] = {f"{port}/tcp": {} for port in sorted(exposed)}
    if spec.entrypoint is not None:
        body["Entrypoint"] = list(spec.entrypoint)
    return body


def podman_create(spec: ContainerSpec, *, ulimits: Mapping[str, int]) -> dict[str, Any]:
    """The body of POST /libpod/containers/create (SpecGenerator). `ulimits` where the spec names none."""
    mode, _, value = spec.network.partition(":")
    if mode not in ("host", "none", "bridge", "container"):
        mode, value = "bridge", spec.network
    body: dict[str, Any] = {
        "name": spec.name,
        "command": list(spec.command),
        "env": dict(spec.env),
        "labels": dict(spec.labels),
        "netns": {"nsmode": mode, "value": value if mode == "container" else ""},
        "mounts": [
            {
                "type": "bind",
                "source": str(bind.source),
                "destination": bind.target,
                "options": ["rbind", "ro" if bind.read_only else "rw"],
            }
            for bind in spec.binds
        ],
        "devices": [{"path": device} for device in (*spec.devices, *_cdi(spec))],
        "r_limits": [
            {"type": name, "soft": limit, "hard": limit} for name, limit in {**ulimits, **spec.ulimits}.items()
        ],
        "cap_add": [f"CAP_{name}" for name in spec.cap_add],
        "cap_drop": [f"CAP_{name}" for name in spec.cap_drop],
        "cgroupns": {"nsmode": "private" if spec.private_cgroups else "host"},
    }
    if mode == "bridge" and value:
        body["networks"] = {value: {}}
    if spec.volumes:
        body["volumes"] = [
            {"Name": volume.name, "Dest": volume.target, "Options": ["ro" if volume.read_only else "rw"]}
            for volume in spec.volumes
        ]
    if spec.publish:
        body["portmappings"] = [
            {"host_ip": port.address, "host_port": port.host, "container_port": port.inside, "protocol": "tcp"}
            for port in spec.publish
        ]
    if spec.expose:
        body["expose"] = {str(port): "tcp" for port in spec.expose}
    if spec.entrypoint is not None:
        body["entrypoint"] = list(spec.entrypoint)
    if spec.rootfs is not None:
        body["rootfs"] = str(spec.rootfs)
    else:
        body["image"] = spec.image
    if spec.memory_limit is not None:
        body["resource_limits"] = {"memory": {"limit": spec.memory_limit, "swap": spec.memory_limit}}
    for name, setting in (("work_dir", spec.workdir), ("user", spec.user), ("shm_size", spec.shm_size)):
        if setting is not None:
            body[name] = setting
    if not spec.seccomp:
        body["seccomp_profile_path"] = "unconfined"
    return body


def _cdi(spec: ContainerSpec) -> list[str]:
    """The names that NVIDIA's toolkit gives to the devices (`nvidia-ctk cdi list`)."""
    return ["nvidia.com/gpu=all"] if spec.gpus == "all" else [f"nvidia.com/gpu={index}" for index in spec.gpus]
