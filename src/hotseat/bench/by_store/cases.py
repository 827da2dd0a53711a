"""The cases. Each begins and ends with nothing of its own on the device or in the store."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Mapping, Sequence
from contextlib import AsyncExitStack
from dataclasses import dataclass

from hotseat.bench.by_store.figures import IN, OUT, Fact, Figure, figure, of_moves
from hotseat.bench.by_store.moves import Clock, Move, by_driver, by_store, in_by_store, out_by_store
from hotseat.bench.by_store.stage import STEP, Stage, Subject

CHUNK = 2 << 20
TUNES = 5
ALIKE = 800
"""Thousandths of a fine-tune's weights that all of them share, and of the mostly zero workload that are zero."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """Device memory in whole chunks."""

    bytes: int
    """Of one process."""
    pair: int
    """Of each of the two that change places at once."""
    large: int
    """Of those of which little is to be moved: nothing changed, or mostly zero."""
    cycles: int
    """Of each case that is repeated."""
    swaps: int
    """Of the last case."""

    @property
    def tune(self) -> int:
        """Bytes of one fine-tune: a quarter, in chunks of which 80 % are whole."""
        return whole(self.bytes // 4)

    @property
    def small(self) -> int:
        """Bytes of the one that is swapped over and over."""
        return whole(self.bytes // 16)

    def arena(self, cases: Sequence[str]) -> int:
        """Enough for these: what is parked, and what they change beside it."""
        needs = {
            "one": 2 * self.bytes,
            "at-once": 5 * self.pair // 2,
            "full": 5 * self.pair // 2,
            "large": self.large,
            "zero": self.large // 2,
            "fine-tunes": 2 * self.tune,
            "many": 3 * self.small,
        }
        most = max((nbytes for case, nbytes in needs.items() if case in cases), default=0)
        return -(-most // CHUNK) * CHUNK + (64 << 20)

    def device(self, cases: Sequence[str], *, context: int) -> int:
        """What these take of the device."""
        pair = 2 * (self.pair + context)
        needs = {"at-once": pair, "full": pair, "large": self.large + context, "zero": self.large + context}
        return max(needs.get(case, self.bytes + context) for case in cases)


def whole(nbytes: int) -> int:
    """What a process may have: ten parts, each of whole chunks."""
    return max(nbytes // (10 * CHUNK), 1) * 10 * CHUNK


Rates = dict[str, float]
Found = tuple[list[Figure], list[Fact]]


async def swap(stage: Stage, subject: Subject, *, keep: bool = False) -> Move:
    return await by_store(stage.gpu, stage.store, subject.ref, keep=keep, settle=stage.settle)


async def driver(stage: Stage, plan: Plan, rates: Rates) -> Found:
    """Without a store, without the interposer."""
    moves = []
    async with stage.subject(plan.bytes, interposed=False) as subject:
        for cycle in range(plan.cycles):
            await subject.ask("fill", 10 + cycle, 0, 1000)
            moves.append(await by_driver(stage.gpu, subject.ref))
            await stage.content("driver alone", subject)
    return of_moves("driver alone", moves, nbytes=plan.bytes, rates=rates), []


async def one(stage: Stage, plan: Plan, rates: Rates) -> Found:
    """One process: nothing or all of it changed since its last swap, its context restored or kept."""
    figures: list[Figure] = []
    seed = 100
    async with stage.subject(plan.bytes) as subject:
        await swap(stage, subject)  # the arena learns it
        for keep in (False, True):
            for changed in (True, False):
                case = f"{'all' if changed else 'nothing'} changed, context {'kept' if keep else 'restored'}"
                moves: list[Move] = []
                for _ in range(plan.cycles):
                    if changed:
                        seed += 1
                        await subject.ask("fill", seed, 0, 1000)
                    moves.append(await swap(stage, subject, keep=keep))
                    await stage.content(case, subject)
                expected = plan.bytes if changed else 0
                stage.check(f"{case}: only what changed was copied", moves[-1].moved_out.copied == expected)
                figures += of_moves(case, moves, nbytes=plan.bytes, rates=rates)
    return figures, []


async def at_once(stage: Stage, plan: Plan, rates: Rates) -> Found:
    """A out while B comes in, half of each changed since its last swap. The device has room for both."""
    case, times = "A out and B in at once, half changed", []
    gpu, store = stage.gpu, stage.store
    async with stage.subject(plan.pair) as a:
        await a.ask("fill", 200, 0, 1000)
        await swap(stage, a)
        async with stage.subject(plan.pair) as b:
            await b.ask("fill", 300, 0, 1000)
            await out_by_store(gpu, store, b.ref, keep=False, clock=Clock())
            seated, parked = a, b
            for cycle in range(2 * plan.cycles):
                await seated.ask("fill", 400 + cycle, 0, 500)
                began = time.perf_counter()
                await asyncio.gather(
                    out_by_store(gpu, store, seated.ref, keep=False, clock=Clock()),
                    in_by_store(gpu, store, parked.ref, keep=False, clock=Clock()),
                )
                times.append(time.perf_counter() - began)
                seated, parked = parked, seated
                await stage.content(case, seated)
            await in_by_store(gpu, store, parked.ref, keep=False, clock=Clock())
            await stage.content(case, parked)
    pinned = plan.pair / rates[IN]
    return [figure(case, "out and in", times, nbytes=plan.pair, pinned=pinned, steps={})], []


async def full(stage: Stage, plan: Plan, rates: Rates) -> Found:
    """The same two on a device that somebody else fills but for a quarter of one of them: B comes in block by block
    into what A leaves, ahead of its own move in. Beside one after the other."""
    figures: list[Figure] = []
    gpu, store, room = stage.gpu, stage.store, whole(plan.pair // 4)
    async with stage.subject(plan.pair) as a, stage.subject(plan.pair) as b:
        await out_by_store(gpu, store, b.ref, keep=False, clock=Clock())
        free = (await gpu.use())[0].free_bytes
        async with stage.subject(whole(free - room - 2 * stage.context), interposed=False):
            seated, parked, seed, stayed = a, b, 700, False
            for keep, ahead in ((False, False), (False, True), (True, False), (True, True)):
                when, how = "while" if ahead else "after", "kept" if keep else "restored"
                case, times = f"B in {when} A goes out, device full, context {how}", []
                for cycle in range(1 + plan.cycles):
                    seed += 1
                    await seated.ask("fill", seed, 0, 500)
                    then, began = parked.ref if ahead else None, time.perf_counter()
                    await out_by_store(gpu, store, seated.ref, keep=keep, clock=Clock(), then=then)
                    await in_by_store(gpu, store, parked.ref, keep=stayed, clock=Clock())
                    if cycle:  # the first comes back from the way before
                        times.append(time.perf_counter() - began)
                    seated, parked, stayed = parked, seated, keep
                    await stage.content(case, seated)
                figures.append(
                    figure(case, "out and in", times, nbytes=plan.pair, pinned=plan.pair / rates[IN], steps={})
                )
    return figures, []


async def large(stage: Stage, plan: Plan, rates: Rates) -> Found:
    """Nothing changed since the last swap in: the arena has it all."""
    figures: list[Figure] = []
    async with stage.subject(plan.large) as subject:
        await swap(stage, subject)
        for keep in (False, True):
            case = f"nothing changed, large, context {'kept' if keep else 'restored'}"
            moves = [await swap(stage, subject, keep=keep) for _ in range(plan.cycles)]
            await stage.content(case, subject)
            stage.check(f"{case}: nothing was copied out", all(move.moved_out.copied == 0 for move in moves))
            figures += of_moves(case, moves, nbytes=plan.large, rates=rates)
    return figures, []


async def mostly_zero(stage: Stage, plan: Plan, rates: Rates) -> Found:
    """80 % zero: zeros are neither kept nor sent. Beside the pinned copy of the rest."""
    case, moves = "80 % zero, the rest changed", []
    async with stage.subject(plan.large) as subject:
        await subject.ask("fill", 0, 0, ALIKE)
        for cycle in range(plan.cycles):
            await subject.ask("fill", 500 + cycle, ALIKE, 1000)
            moves.append(await swap(stage, subject))
            await stage.content(case, subject)
    full = plan.large - moves[-1].moved_out.zero
    stage.check(f"{case}: no zeros were copied", moves[-1].moved_out.copied == moves[-1].moved_in.copied == full)
    return of_moves(case, moves, nbytes=full, rates=rates), []


async def fine_tunes(stage: Stage, plan: Plan, rates: Rates) -> Found:
    """Five processes that share 80 % of their memory, all of them parked: how much of the arena they take."""
    case = f"{TUNES} fine-tunes that share 80 %"
    gpu, store = stage.gpu, stage.store
    async with AsyncExitStack() as stack:
        subjects = []
        for number in range(TUNES):
            subject = await stack.enter_async_context(stage.subject(plan.tune))
            await subject.ask("fill", 600, 0, ALIKE)
            await subject.ask("fill", 601 + number, ALIKE, 1000)
            await out_by_store(gpu, store, subject.ref, keep=False, clock=Clock())
            subjects.append(subject)
        share = await stage.arena_used() / plan.tune
        stage.check(f"{case}: under twice one of them", share < 2)
        for subject in subjects:
            await in_by_store(gpu, store, subject.ref, keep=False, clock=Clock())
            await stage.content(case, subject)
            await subject.end()  # room for the next one
    return [], [Fact(case=case, name="host memory, in sizes of one of them:", value=round(share, 3))]


async def many(stage: Stage, plan: Plan, rates: Rates) -> Found:
    """Swap after swap, another part changed before each, the content compared after each; then nothing may be left."""
    case = f"{plan.swaps} swaps"
    before = await stage.used()
    async with stage.subject(plan.small) as subject:
        await by_store(stage.gpu, stage.store, subject.ref)
        settled = await stage.used()
        for swap in range(plan.swaps):
            first = swap * 137 % 1000
            await subject.ask("fill", 1000 + swap if swap % 3 else 0, first, min(1000, first + 200))
            await by_store(stage.gpu, stage.store, subject.ref, keep=swap % 2 == 1)
            await stage.content(case, subject)
            stage.tick(f"{case}: {swap + 1} of {plan.swaps}")
        stage.check(f"{case}: no device memory leaked while it ran", await stage.used() <= settled)
        stage.check(f"{case}: the arena holds nothing of what is seated", await stage.arena_used() == 0)
    left = await stage.store.status(deadline=STEP)
    stage.check(f"{case}: the store forgot it", not left.processes)
    stage.check(f"{case}: the device has its memory back", await stage.used() <= before)
    return [], []


Case = Callable[[Stage, Plan, Rates], Awaitable[Found]]
CASES: Mapping[str, Case] = {
    "driver": driver,
    "one": one,
    "at-once": at_once,
    "full": full,
    "large": large,
    "zero": mostly_zero,
    "fine-tunes": fine_tunes,
    "many": many,
}
"""By the names that the command line has for them."""
ALONE = ("driver",)
"""Without a store."""


async def pinned_rates(stage: Stage) -> Rates:
    async with stage.subject(stage.block, interposed=False) as subject:
        rates: Rates = await subject.ask("rate")
    assert rates.keys() == {IN, OUT}
    return rates
