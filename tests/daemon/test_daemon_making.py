"""Containers that hotseat makes of the file: when one is made, when anew, and when it is left as it is."""

from __future__ import annotations

import logging
from dataclasses import replace
from pathlib import Path

import pytest
from daemon_house import MakeHouse

from hotseat import config
from hotseat.config import Workload
from hotseat.daemon import making
from hotseat.errors import NotFound, PlatformFailed, Unavailable
from hotseat.platforms.port import Status
from hotseat.platforms.spec import Bind, ContainerSpec, Publish, Volume
from hotseat.testing.platforms import FakePlatform


def workload(more: str = "", *, run: str = "") -> Workload:
    text = f"workloads: {{w: {{port: 8000, image: 'i:1'{more and ', ' + more}{run and ', run: ' + run}}}}}"
    return config.parse(text, base=Path("/base")).workloads["w"]


@pytest.fixture
def platform() -> FakePlatform:
    return FakePlatform(name="docker")


FULL = """{entrypoint: [/e], volumes: ["./m:/m:ro", "cache:/c", "/x:/y"], publish: ["8001:8000", "0.0.0.0:81:80"],
    network: mine, gpus: [1], devices: [/dev/x], shm_size: 1GiB, memory: 2GiB, user: u, workdir: /w,
    ulimits: {nofile: 5}, labels: {l: m, hotseat.models: not-these}}"""


def test_every_setting_reaches_the_container() -> None:
    spec = workload("command: [a, b], env: {K: 1}, models: [m, n]", run=FULL)
    made = making.container_spec("w", spec)
    assert made == ContainerSpec(
        name="w",
        image="i:1",
        command=("a", "b"),
        env={"K": "1"},
        entrypoint=("/e",),
        labels={"l": "m", "hotseat.models": "m,n", "hotseat.made-from": making.fingerprint(spec)},
        binds=(
            Bind(source=Path("/base/m"), target="/m", read_only=True),
            Bind(source=Path("/x"), target="/y"),
        ),
        volumes=(Volume(name="cache", target="/c"),),
        publish=(
            Publish(address="127.0.0.1", host=8001, inside=8000),
            Publish(address="0.0.0.0", host=81, inside=80),
        ),
        expose=(8000,),
        gpus=(1,),
        devices=("/dev/x",),
        network="mine",
        shm_size=2**30,
        memory_limit=2 * 2**30,
        user="u",
        workdir="/w",
        ulimits={"nofile": 5},
    )


def test_gpus_are_all_unless_told() -> None:
    assert making.container_spec("w", workload()).gpus == "all"
    assert making.container_spec("w", workload(run="{gpus: none}")).gpus == ()


def test_what_makes_another_container() -> None:
    first = making.fingerprint(workload())
    for same in ("models: [x]", "priority: 5", "health: /x", "gpu_memory: 1GiB"):
        assert making.fingerprint(workload(same)) == first
    others = {making.fingerprint(workload(more)) for more in ("command: [x]", "env: {A: b}")}
    others.add(making.fingerprint(workload(run="{user: me}")))
    others.add(making.fingerprint(workload().model_copy(update={"image": "i:2"})))
    assert len(others | {first}) == 5


async def test_it_is_made_once_and_kept_while_the_file_stays(platform: FakePlatform) -> None:
    first = await making.made("w", workload(), platform)
    assert (await making.made("w", workload("priority: 3"), platform)).id == first.id


async def test_a_changed_file_makes_it_anew_once_it_does_not_run(platform: FakePlatform) -> None:
    first = await making.made("w", workload(), platform)
    await platform.start(first)
    changed = workload("command: [new]")
    for state in ("running", "paused"):
        if state == "paused":
            await platform.pause(first)
        assert (await making.made("w", changed, platform)).id == first.id, state
    await platform.stop(first, grace=0)
    second = await making.made("w", changed, platform)
    assert second.id != first.id
    assert [container.name for container in await platform.list()] == ["w"]


async def test_the_old_one_goes_only_when_the_new_one_is_there(platform: FakePlatform) -> None:
    first = await making.made("w", workload(), platform)
    platform.fault("create", NotFound("docker: No such image: i:2"))
    with pytest.raises(Unavailable) as caught:
        await making.made("w", workload("command: [new]"), platform)
    assert caught.value.hint == "docker pull i:1"
    (left,) = await platform.list()
    assert (left.id, left.name) == (first.id, "w")


async def test_somebody_elses_container_is_left_as_it_is(
    platform: FakePlatform, caplog: pytest.LogCaptureFixture
) -> None:
    theirs = await platform.create(ContainerSpec(name="w", command=("x",)))
    with caplog.at_level(logging.WARNING):
        assert (await making.made("w", workload(), platform)).id == theirs.id
    assert "was not made by hotseat" in caplog.text


async def test_without_an_image_nothing_is_made(platform: FakePlatform) -> None:
    spec = config.parse("workloads: {w: {port: 1}}").workloads["w"]
    with pytest.raises(NotFound):
        await making.made("w", spec, platform)
    assert await platform.list() == []


@pytest.mark.parametrize(
    ("error", "said", "hint"),
    [
        (NotFound("docker: No such image: i:1"), "image i:1 is not on this host", "docker pull i:1"),
        (NotFound("podman: i:1: image not known"), "image i:1 is not on this host", "docker pull i:1"),
        (NotFound("docker: network mine not found"), "network mine not found", "correct `run`"),
        (
            PlatformFailed('docker: could not select device driver "" with capabilities: [[gpu]]'),
            "cannot give a GPU",
            "gpus: none",
        ),
        (PlatformFailed("podman: setting up CDI devices: unresolvable CDI devices nvidia.com/gpu=all"), "GPU", "none"),
    ],
)
def test_why_it_cannot_be_made_says_what_to_do(error: NotFound | PlatformFailed, said: str, hint: str) -> None:
    explained = making.explained(error, workload())
    assert isinstance(explained, Unavailable)
    assert said in explained.message
    assert hint in explained.hint
    other = PlatformFailed("port is already allocated")
    assert making.explained(other, workload()) is other


async def test_a_request_makes_and_starts_it_and_a_stop_and_a_change_make_it_anew(make_house: MakeHouse) -> None:
    house = await make_house(names="ab", min_stay="0", per={"b": "image: 'i:1', run: {gpus: none}, gpu_memory: 8"})
    await house.platform.remove(await house.platform.inspect("b"))
    await house.up()
    assert await house.answer("b") == 200
    assert house.states() == {"a": "parked", "b": "seated"}
    made = await house.platform.inspect("b")
    assert (made.image, made.status) == ("i:1", Status.RUNNING)
    async with house.client() as client:
        house.text = house.text.replace("i:1", "i:2")
        house.file.write_text(house.text)
        changes = await client.reload()
        assert changes["at_next_start"] == {"b": ["image"]}
        assert (await house.platform.inspect("b")).id == made.id, "what runs is not replaced"
    house.platform.behind.kill("b")
    assert await house.answer("b") == 200
    again = await house.platform.inspect("b")
    assert (again.image, again.id != made.id) == ("i:2", True)


async def test_an_image_that_is_missing_is_told_to_who_waits(make_house: MakeHouse) -> None:
    house = await make_house(names="ab", stopped="b", min_stay="0", per={"b": "image: 'i:1', gpu_memory: 8"})
    await house.platform.remove(await house.platform.inspect("b"))
    house.platform.fault("create", NotFound("docker: No such image: i:1"), times=100)
    await house.up()
    async with house.ask("b") as response:
        said = (await response.json())["error"]
        assert response.status == 503
    assert "image i:1 is not on this host" in said["message"]
    assert "docker pull i:1" in str(said)


def test_a_published_port_is_used_where_the_container_has_no_address_of_its_own() -> None:
    from hotseat.daemon.hands import base_url
    from hotseat.platforms.port import Container

    container = Container(
        platform="podman",
        id="x",
        name="w",
        image="i",
        status=Status.RUNNING,
        pid=1,
        started_at=0.0,
        addresses=("127.0.0.1",),
        published={8000: 8001},
    )
    assert base_url("w", workload(), container) == "http://127.0.0.1:8001"
    assert base_url("w", workload(), replace(container, published={})) == "http://127.0.0.1:8000"
    assert base_url("w", workload(), replace(container, addresses=("10.0.0.2",))) == "http://10.0.0.2:8000"
