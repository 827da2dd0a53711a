"""What doctor says of the store, and of the way that each container's memory takes."""

from __future__ import annotations

from dataclasses import replace

import pytest

from hotseat.cli.doctor import rules_containers, rules_store
from hotseat.cli.doctor.facts import ContainerFact, Driver, Host, Level, ProcessFact, StoreFact
from hotseat.gpu.preload import Preload
from hotseat.store.port import TURNED_OFF

GIB = 1 << 30
HAS = Preload(loaded=True, named=True, store=True, libc="2.36")
PLAIN = ProcessFact(
    pid=10, command="e", threads=5, state="S", uses_gpu=True, libcuda="/l", gpu_bytes=8 * GIB, preload=Preload()
)
HELD = replace(PLAIN, pid=11, preload=HAS, held_bytes=7 * GIB)
RUNS = StoreFact(socket="/s", running=True, arena=16 * GIB, ready=16 * GIB, used=GIB, held={11: 7 * GIB})
NONE = StoreFact(socket="/s", note="no store answers at /s")
CUSTOM = replace(RUNS, custom_storage=True)
LENT = replace(PLAIN, custom=True)


def box(*processes: ProcessFact, **changes: object) -> ContainerFact:
    fact = ContainerFact(key="docker:1", name="llama", platform="docker", status="running", processes=processes)
    return replace(fact, **changes)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("facts", "processes", "level", "said"),
    [
        (RUNS, [HELD], Level.OK, "an arena of 16 GiB, 1 GiB used; 1 interposed processes with 7 GiB"),
        (replace(RUNS, ready=GIB), [HELD], Level.OK, "1 GiB of it populated so far"),
        (replace(RUNS, arena=4 * GIB), [HELD], Level.WARN, "with 7 GiB of device memory"),
        (NONE, [PLAIN], Level.OK, "no store runs (/s); all memory takes the driver's way"),
        (NONE, [replace(HELD, held_bytes=None)], Level.WARN, "processes 11 are interposed"),
    ],
)
def test_the_store(facts: StoreFact, processes: list[ProcessFact], level: Level, said: str) -> None:
    (finding,) = rules_store.store(facts, containers=[box(*processes)])
    assert finding.level is level
    assert said in finding.what
    assert level is Level.OK or (finding.why and finding.way_out)


def test_a_store_that_works_in_part_says_what_is_wrong() -> None:
    works, arena = rules_store.store(replace(RUNS, note="no driver"), containers=[])
    assert (works.level, arena.level) == (Level.WARN, Level.OK)
    assert "no driver" in works.what


@pytest.mark.parametrize(
    ("facts", "said"),
    [
        (CUSTOM, "go by the driver's custom storage"),
        (replace(RUNS, no_custom_storage="this driver's CUDA is 13.0"), "there is none: this driver's CUDA is 13.0"),
    ],
)
def test_custom_storage_is_warned_of_as_it_never_ran_on_a_gpu(facts: StoreFact, said: str) -> None:
    custom, arena = rules_store.store(facts, containers=[box(HELD, LENT)])
    assert (custom.check, custom.level) == ("custom storage", Level.WARN)
    assert said in custom.what
    assert custom.why
    assert custom.way_out
    assert "1 interposed processes and 1 without the interposer with 15 GiB" in arena.what


def test_a_store_that_nobody_asked_for_custom_storage_says_nothing_of_it() -> None:
    (arena,) = rules_store.store(replace(RUNS, no_custom_storage=TURNED_OFF), containers=[])
    assert arena.check == "arena"


@pytest.mark.parametrize(
    ("processes", "facts", "level", "said"),
    [
        ([LENT], CUSTOM, Level.OK, "custom-storage: the store has the driver map the memory of process 10"),
        ([PLAIN], CUSTOM, Level.OK, "for custom storage its workload holds more than the store's arena"),
        ([LENT, HELD], CUSTOM, Level.OK, "mixed: the store has the driver map the memory of process 10"),
        ([replace(LENT, held_bytes=8 * GIB, gpu_bytes=0)], CUSTOM, Level.OK, "custom-storage: the store"),
        (
            [LENT, replace(PLAIN, pid=12, gpu_bytes=0)],
            CUSTOM,
            Level.OK,
            "process 12 was started without the interposer",
        ),
        ([HELD], RUNS, Level.OK, "interposed: the store moves its memory"),
        ([PLAIN], RUNS, Level.OK, "driver: process 10 was started without the interposer"),
        ([PLAIN, HELD], RUNS, Level.OK, "mixed: process 10 was started without the interposer"),
        ([replace(PLAIN, preload=Preload(static=True))], RUNS, Level.OK, "driver: process 10 is a static binary"),
        ([replace(PLAIN, preload=Preload(named=True, libc="musl"))], RUNS, Level.WARN, "runs on musl"),
        ([replace(PLAIN, preload=HAS)], NONE, Level.WARN, "process 10 is interposed, and no store runs"),
        ([replace(PLAIN, preload=HAS)], RUNS, Level.WARN, "not connected to the store"),
        ([replace(PLAIN, preload=replace(HAS, store=False))], RUNS, Level.WARN, "without HOTSEAT_STORE"),
    ],
)
def test_the_way(processes: list[ProcessFact], facts: StoreFact, level: Level, said: str) -> None:
    (finding,) = rules_store.way(box(*processes), store=facts)
    assert (finding.subject, finding.check, finding.level) == ("docker:llama", "way", level)
    assert said in finding.what


def test_nothing_is_said_of_what_uses_no_gpu() -> None:
    assert rules_store.way(box(replace(PLAIN, uses_gpu=False)), store=RUNS) == []


def test_what_the_store_moves_does_not_count_against_the_containers_limit() -> None:
    driver = Driver(libcuda="/l", checkpoint_api=True)
    host = Host(
        kernel="6", memory_total=64 * GIB, memory_available=32 * GIB, swap_total=0, huge_pages="", nofile=1, nproc=-1
    )

    def said(process: ProcessFact) -> set[str]:
        found = rules_containers.container(
            box(process, memory_limit=4 * GIB, memory_used=GIB), driver=driver, host=host
        )
        return {finding.check for finding in found if finding.level is Level.FAIL}

    assert said(PLAIN) == {"memory limit"}
    assert said(HELD) == set()
    assert said(LENT) == set()
