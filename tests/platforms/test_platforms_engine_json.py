"""Answers of Docker 20.10 and Podman 4.3, as they came over the wire, and what is asked of them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from hotseat.errors import Refused
from hotseat.platforms import engine_json, multiplexed
from hotseat.platforms.port import EventKind, Status
from hotseat.platforms.spec import Bind, ContainerSpec, Publish, Volume

ID = "87f447689c583e3ed97c36c75fffdd1a9a729677d5a70a1b1a043247fab0a159"


def shown(status: str = "running", **more: Any) -> dict[str, Any]:
    return {
        "Id": ID,
        "Name": "/t1",
        "State": {
            "Status": status,
            "Pid": 6480,
            "ExitCode": 3,
            "StartedAt": "2026-11-23T22:54:05.367387736Z",
        },
        "Config": {"Image": "bb", "Labels": {"a": "b"}},
        "HostConfig": {"NetworkMode": "bridge", "Memory": 0},
        "NetworkSettings": {},
        **more,
    }


@pytest.mark.parametrize(
    ("word", "status"),
    [
        ("created", Status.CREATED),
        ("configured", Status.CREATED),
        ("initialized", Status.CREATED),
        ("running", Status.RUNNING),
        ("stopping", Status.RUNNING),
        ("paused", Status.PAUSED),
        ("restarting", Status.RESTARTING),
        ("exited", Status.EXITED),
        ("stopped", Status.EXITED),
        ("dead", Status.EXITED),
        ("removing", Status.EXITED),
    ],
)
def test_every_word_for_a_state_is_known(word: str, status: Status) -> None:
    container = engine_json.container("docker", shown(word))
    assert container.status is status
    assert (container.pid is None) == (status not in (Status.RUNNING, Status.PAUSED))
    assert container.exit_code == (3 if status is Status.EXITED else None)


def test_a_running_container() -> None:
    container = engine_json.container("docker", shown())
    assert (container.key, container.name, container.image) == (f"docker:{ID}", "t1", "bb")
    assert container.labels == {"a": "b"}
    assert container.started_at == pytest.approx(1795474445.367387, abs=1e-5)
    assert not container.shares_memory_limit


def test_never_started_is_zero() -> None:
    data = shown("created")
    data["State"] |= {"StartedAt": "0001-01-01T00:00:00Z", "Pid": 0}
    assert engine_json.container("podman", data).started_at == 0.0


def test_labels_may_be_null() -> None:
    assert engine_json.container("podman", shown(Config={"Labels": None})).labels == {}


@pytest.mark.parametrize(
    ("host", "settings", "addresses"),
    [
        ({"NetworkMode": "host"}, {}, ["127.0.0.1"]),
        ({"NetworkMode": "none"}, {"Networks": {"none": {"IPAddress": ""}}}, []),
        ({"NetworkMode": "bridge"}, {"IPAddress": "172.17.0.2"}, ["172.17.0.2"]),
        (
            {"NetworkMode": "mine"},
            {"Networks": {"mine": {"IPAddress": "10.0.0.2", "GlobalIPv6Address": "fd00::2"}}},
            ["10.0.0.2", "fd00::2"],
        ),
        (
            {"NetworkMode": "bridge"},
            {"IPAddress": "10.0.0.2", "Networks": {"a": {"IPAddress": "10.0.0.2"}}},
            ["10.0.0.2"],
        ),
        ({"NetworkMode": "slirp4netns"}, {"Ports": {"80/tcp": [{"HostPort": "8080"}]}}, ["127.0.0.1"]),
        ({"NetworkMode": "slirp4netns"}, {"Ports": {"80/tcp": None}, "Networks": None}, []),
    ],
)
def test_addresses(host: dict[str, Any], settings: dict[str, Any], addresses: list[str]) -> None:
    assert engine_json.own_addresses(shown(HostConfig=host, NetworkSettings=settings)) == addresses


def test_a_shared_network_names_its_owner() -> None:
    assert engine_json.network_owner(shown(HostConfig={"NetworkMode": "container:abc"})) == "abc"
    assert engine_json.network_owner(shown()) is None


@pytest.mark.parametrize(
    ("action", "kind"),
    [
        ("create", EventKind.CREATED),
        ("start", EventKind.STARTED),
        ("pause", EventKind.PAUSED),
        ("unpause", EventKind.UNPAUSED),
        ("die", EventKind.EXITED),
        ("died", EventKind.EXITED),
        ("destroy", EventKind.REMOVED),
        ("remove", EventKind.REMOVED),
        ("kill", None),
        ("exec_die", None),
        ("exec_create: true ", None),
        ("cleanup", None),
        ("restart", None),
    ],
)
def test_events(action: str, kind: EventKind | None) -> None:
    line = {
        "Type": "container",
        "Action": action,
        "Actor": {"ID": ID, "Attributes": {"name": "t1"}},
        "time": 1795474507,
        "timeNano": 1795474507395052813,
    }
    event = engine_json.event("podman", line)
    if kind is None:
        assert event is None
    else:
        assert event is not None
        assert (event.kind, event.key, event.name) == (kind, f"podman:{ID}", "t1")
        assert event.at == pytest.approx(1795474507.395052, abs=1e-5)


def test_events_of_networks_and_images_are_passed_over() -> None:
    assert engine_json.event("docker", {"Type": "network", "Action": "create", "Actor": {"ID": "x"}, "time": 1}) is None


FULL = ContainerSpec(
    name="a",
    image="i",
    command=("run", "it"),
    env={"K": "V"},
    labels={"l": "m"},
    binds=(Bind(source=Path("/x"), target="/y", read_only=True), Bind(source=Path("/p"), target="/q")),
    devices=("/dev/nvidia0",),
    ulimits={"nofile": 512},
    memory_limit=1 << 20,
    shm_size=1 << 16,
    cap_add=("SYS_PTRACE",),
    cap_drop=("NET_RAW",),
    seccomp=False,
    private_cgroups=True,
    workdir="/w",
    user="u",
    entrypoint=("/init", "-x"),
    volumes=(Volume(name="cache", target="/c"), Volume(name="data", target="/d", read_only=True)),
    publish=(Publish(address="127.0.0.1", host=8001, inside=8000), Publish(address="::1", host=8001, inside=8000)),
    expose=(9000,),
    gpus=(0, 2),
)


def test_what_docker_is_asked_to_create() -> None:
    body = engine_json.docker_create(FULL)
    host = body.pop("HostConfig")
    assert body == {
        "Image": "i",
        "Cmd": ["run", "it"],
        "Env": ["K=V"],
        "Labels": {"l": "m"},
        "WorkingDir": "/w",
        "User": "u",
        "Entrypoint": ["/init", "-x"],
        "ExposedPorts": {"8000/tcp": {}, "9000/tcp": {}},
    }
    assert host["Binds"] == ["/x:/y:ro", "/p:/q", "cache:/c", "data:/d:ro"]
    assert host["PortBindings"] == {
        "8000/tcp": [{"HostIp": "127.0.0.1", "HostPort": "8001"}, {"HostIp": "::1", "HostPort": "8001"}]
    }
    assert host["DeviceRequests"] == [{"Driver": "", "Capabilities": [["gpu"]], "DeviceIDs": ["0", "2"]}]
    assert host["Devices"][0]["PathOnHost"] == "/dev/nvidia0"
    assert host["Ulimits"] == [{"Name": "nofile", "Soft": 512, "Hard": 512}]
    assert (host["Memory"], host["MemorySwap"], host["ShmSize"]) == (1 << 20, 1 << 20, 1 << 16)
    assert (host["CapAdd"], host["CapDrop"], host["SecurityOpt"]) == (
        ["SYS_PTRACE"],
        ["NET_RAW"],
        ["seccomp=unconfined"],
    )
    assert (host["NetworkMode"], host["CgroupnsMode"]) == ("host", "private")


def test_what_podman_is_asked_to_create() -> None:
    body = engine_json.podman_create(FULL, ulimits={"nofile": 100, "nproc": 200})
    assert body["r_limits"] == [
        {"type": "nofile", "soft": 512, "hard": 512},
        {"type": "nproc", "soft": 200, "hard": 200},
    ]
    assert body["mounts"][0]["options"] == ["rbind", "ro"]
    assert body["mounts"][1]["options"] == ["rbind", "rw"]
    assert (body["cap_add"], body["cap_drop"]) == (["CAP_SYS_PTRACE"], ["CAP_NET_RAW"])
    assert body["resource_limits"] == {"memory": {"limit": 1 << 20, "swap": 1 << 20}}
    assert body["seccomp_profile_path"] == "unconfined"
    assert (body["image"], body["work_dir"], body["user"], body["shm_size"]) == ("i", "/w", "u", 1 << 16)
    assert [device["path"] for device in body["devices"]] == ["/dev/nvidia0", "nvidia.com/gpu=0", "nvidia.com/gpu=2"]
    assert (body["entrypoint"], body["expose"]) == (["/init", "-x"], {"9000": "tcp"})
    assert body["volumes"] == [
        {"Name": "cache", "Dest": "/c", "Options": ["rw"]},
        {"Name": "data", "Dest": "/d", "Options": ["ro"]},
    ]
    assert [(port["host_ip"], port["host_port"], port["container_port"]) for port in body["portmappings"]] == [
        ("127.0.0.1", 8001, 8000),
        ("::1", 8001, 8000),
    ]


def test_all_gpus_and_none() -> None:
    every = ContainerSpec(name="a", image="i", command=(), gpus="all")
    assert engine_json.docker_create(every)["HostConfig"]["DeviceRequests"][0]["Count"] == -1
    assert engine_json.podman_create(every, ulimits={})["devices"] == [{"path": "nvidia.com/gpu=all"}]
    none = ContainerSpec(name="a", image="i", command=())
    assert "DeviceRequests" not in engine_json.docker_create(none)["HostConfig"]
    assert engine_json.podman_create(none, ulimits={})["devices"] == []


@pytest.mark.parametrize(
    ("given", "ports", "published"),
    [
        ({}, (), {}),
        ({"Config": {"ExposedPorts": {"8000/tcp": {}, "53/udp": {}, "80/tcp": {}}}}, (80, 8000), {}),
        ({"NetworkSettings": {"Ports": {"8000/tcp": [{"HostIp": "", "HostPort": "8001"}]}}}, (8000,), {8000: 8001}),
        ({"NetworkSettings": {"Ports": {"8000/tcp": None}}}, (8000,), {}),
        (
            {"HostConfig": {"NetworkMode": "bridge", "PortBindings": {"8000/tcp": [{"HostPort": "8001"}]}}},
            (8000,),
            {8000: 8001},
        ),
        ({"HostConfig": {"NetworkMode": "bridge", "PortBindings": {"8000/tcp": [{"HostPort": ""}]}}}, (8000,), {}),
    ],
)
def test_ports_that_it_exposes_and_publishes(
    given: dict[str, Any], ports: tuple[int, ...], published: dict[int, int]
) -> None:
    container = engine_json.container("docker", shown(**given))
    assert (container.ports, container.published) == (ports, published)


@pytest.mark.parametrize(
    ("network", "mode", "value", "networks"),
    [
        ("host", "host", "", None),
        ("none", "none", "", None),
        ("container:abc", "container", "abc", None),
        ("mine", "bridge", "", {"mine": {}}),
    ],
)
def test_podman_networks(network: str, mode: str, value: str, networks: dict[str, Any] | None) -> None:
    spec = ContainerSpec(name="a", image="i", command=("x",), network=network)
    body = engine_json.podman_create(spec, ulimits={})
    assert body["netns"] == {"nsmode": mode, "value": value}
    assert body.get("networks") == networks


def test_a_root_file_system_in_place_of_an_image_is_podmans() -> None:
    spec = ContainerSpec(name="a", rootfs=Path("/r"), command=("x",))
    body = engine_json.podman_create(spec, ulimits={})
    assert body["rootfs"] == "/r"
    assert "image" not in body
    with pytest.raises(Refused):
        engine_json.docker_create(spec)


def test_cdi_devices_are_podmans() -> None:
    spec = ContainerSpec(name="a", image="i", command=("x",), devices=("nvidia.com/gpu=0",))
    assert engine_json.podman_create(spec, ulimits={})["devices"] == [{"path": "nvidia.com/gpu=0"}]
    with pytest.raises(Refused):
        engine_json.docker_create(spec)


def test_frames_of_two_streams_become_one_text() -> None:
    raw = b"\x01\0\0\0\0\0\0\x04one\n" + b"\x02\0\0\0\0\0\0\x04two\n" + b"\x01\0\0\0\0\0\0\x09cut"
    assert multiplexed.payload(raw) == b"one\ntwo\ncut"
    assert multiplexed.payload(b"") == b""
    assert multiplexed.payload(b"\x01\0\0") == b""
