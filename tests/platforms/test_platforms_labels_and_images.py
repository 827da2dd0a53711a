"""What discovery and `hotseat config check` ask of a platform: who has a label, and which images are there."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable

import pytest

from hotseat.platforms.engine_platform import EnginePlatform
from hotseat.platforms.port import EventKind
from hotseat.platforms.spec import ContainerSpec
from hotseat.testing.engines import TINY_IMAGE

KINDS = [
    pytest.param("docker", marks=(pytest.mark.root, pytest.mark.docker)),
    pytest.param("podman", marks=(pytest.mark.root, pytest.mark.podman)),
]


@pytest.fixture
def platform(kind: str, request: pytest.FixtureRequest) -> EnginePlatform:
    found: EnginePlatform = request.getfixturevalue(kind)
    return found


@pytest.mark.parametrize("kind", KINDS)
async def test_who_has_a_label_whatever_its_value_also_if_it_does_not_run(
    platform: EnginePlatform, unique: Callable[[str], str]
) -> None:
    label, others = unique("label"), unique("label")
    made = [
        await platform.create(  # type: ignore[attr-defined]
            ContainerSpec(name=unique("c"), image=TINY_IMAGE, command=("sleep", "1"), labels=labels, expose=(8000,))
        )
        for labels in ({label: "x"}, {label: ""}, {others: "x"}, {})
    ]
    try:
        found = await platform.labelled(label)
        assert {container.id for container in found} == {container.id for container in made[:2]}
        # Podman 4.3 forgets what is exposed, but not by the image, on the host's network.
        assert {container.ports for container in found} == {(8000,) if platform.name == "docker" else ()}
        async with contextlib.aclosing(platform.events()) as events, asyncio.timeout(20):  # type: ignore[type-var]
            renamed = await platform.rename(made[0], unique("renamed"))
            assert (renamed.id, renamed.name != made[0].name) == (made[0].id, True)
            told = await anext(event async for event in events if event.kind is EventKind.RENAMED)
            assert (told.key, told.name) == (renamed.key, renamed.name)
    finally:
        for container in made:
            await platform.remove(container)


@pytest.mark.parametrize("kind", KINDS)
async def test_which_images_are_there(platform: EnginePlatform) -> None:
    assert await platform.has_image(TINY_IMAGE)
    assert not await platform.has_image("hotseat-no-such-image:1")
    assert not await platform.has_image("registry.example/with/slashes@sha256:" + "0" * 64)
