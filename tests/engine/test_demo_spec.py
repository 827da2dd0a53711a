"""EngineSpec and the patterns."""

from __future__ import annotations

import subprocess

import pytest

from hotseat.demo import EngineSpec, pattern
from hotseat.demo.spec import hold_command


def test_every_field_reaches_the_command_line() -> None:
    spec = EngineSpec(
        models=("a", "b"),
        host="0.0.0.0",
        port=1,
        weights_bytes=2,
        kv_bytes=3,
        seed=4,
        tokens_per_second=5.5,
        devices=(6, 7),
        processes=8,
        threads=9,
        max_context=10,
        grace_seconds=11,
    )
    assert spec.command("/engine") == [
        "/engine",
        "--model=a",
        "--model=b",
        "--host=0.0.0.0",
        "--port=1",
        "--weights=2",
        "--kv=3",
        "--seed=4",
        "--tokens-per-second=5.5",
        "--devices=6,7",
        "--processes=8",
        "--threads=9",
        "--max-context=10",
        "--grace=11",
    ]


def test_the_help_names_every_option() -> None:
    told = subprocess.run(
        [*EngineSpec().command()[:1], "--help"], capture_output=True, text=True, timeout=20, check=True
    )
    spec = EngineSpec(max_context=1, grace_seconds=1)
    options = [argument.split("=")[0] for argument in [*spec.arguments(), *hold_command(1, program="x")[1:]]]
    assert [option for option in options if option not in told.stdout] == []


@pytest.mark.parametrize(("value", "mixed"), [(0, 0), (pattern.GOLDEN, 0xE220A8397B1DCDAF)])
def test_mix64_is_splitmix64(value, mixed) -> None:
    """The second is the first output of splitmix64 with seed 0 (Vigna's reference code)."""
    assert pattern.mix64(value) == mixed


def test_digest_adds_up_and_knows_places() -> None:
    words = [pattern.fill_word(9, i) for i in range(5)]
    assert pattern.digest(words) == (pattern.digest(words[:2]) + pattern.digest(words[2:], first_index=2)) % 2**64
    assert pattern.digest(words) != pattern.digest(words[::-1])
