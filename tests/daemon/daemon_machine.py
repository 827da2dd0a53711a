"""A state machine around the core: any order of requests, commands, failures, and people behind its back."""

from __future__ import annotations

from functools import partial
from typing import Any

from daemon_world import HOLDING, NEED, SIZE, TEXT, Heard, World
from hypothesis import strategies as st
from hypothesis.stateful import Bundle, RuleBasedStateMachine, consumes, initialize, invariant, multiple, rule

from hotseat.daemon import messages as m
from hotseat.daemon.book import JobKind, Ticket, row
from hotseat.errors import Busy, Failed, HotseatError, NoRoom, Quarantined, Refused, RolledBack
from hotseat.words import State


class AnyOrder(RuleBasedStateMachine):
    open = Bundle("open")
    names = st.sampled_from(sorted(NEED))

    def make(self) -> World:
        text = TEXT.replace("start: false", "start: false, context: keep")
        return World(text, interposed="bc", contexts={"c": 1})

    @initialize()
    def begin(self) -> None:
        self.world = self.make()
        self.commands: list[Heard] = []

    @rule(target=open, name=names, priority=st.sampled_from([0, 0, 5, -5]), short=st.booleans())
    def arrive(self, name: str, priority: int, short: bool) -> Any:
        return multiple(self.world.ask(name, priority=priority, short=short))

    @rule(ticket=consumes(open), short=st.booleans())
    def leave(self, ticket: Ticket, short: bool) -> None:
        if short:
            self.world.core.leave(ticket, self.world.now)
            self.world.send()
        else:
            self.world.send(m.Left(ticket=ticket))

    @rule(kept=st.sets(names), other=st.none() | names, cap=st.sampled_from([{}, {0: 6}]), port=st.integers(1, 3))
    def somebody_edits_the_file(self, kept: set[str], other: str | None, cap: dict[int, int], port: int) -> None:
        lines = [
            f"  {name}: {{port: {port}, container: {'other' if name == other else name}}}" for name in sorted(kept)
        ]
        self.world.configure("workloads:\n" + "\n".join(lines) if lines else "", caps=cap)
        assert {name for name, record in self.world.core.records.items() if not record.leaving} == kept
        assert set(self.world.core.models) == kept

    @rule(name=names, kind=st.sampled_from([m.Park, partial(m.Park, whole=True), m.Seat, m.Stop, m.Spill, m.Fetch]))
    def command(self, name: str, kind: Any) -> None:
        heard = Heard()
        self.commands.append(heard)
        self.world.send(kind(workload=name, answer=heard))

    @rule(name=names, out=names)
    def command_swap(self, name: str, out: str) -> None:
        heard = Heard()
        self.commands.append(heard)
        self.world.send(m.Swap(workload=name, out=out, answer=heard))

    @rule(name=names)
    def job_ends_well(self, name: str) -> None:
        if name in self.world.jobs:
            self.world.end_job(name)

    @rule(name=names, error=st.sampled_from([RolledBack("r"), NoRoom("n"), Busy("b"), Refused("no"), Failed("f")]))
    def job_fails_before_its_commit(self, name: str, error: HotseatError) -> None:
        if name in self.world.jobs:
            self.world.end_job(name, type(error)(error.message))

    @rule(name=names)
    def job_ends_in_quarantine(self, name: str) -> None:
        if self.world.jobs.get(name) in (JobKind.SWAP_IN, JobKind.SWAP_OUT):
            self.world.end_job(name, Quarantined("lost"), becomes=State.QUARANTINED)

    @rule(name=names, well=st.booleans())
    def probe_ends(self, name: str, well: bool) -> None:
        if name in self.world.probes:
            number = self.world.probes.pop(name)
            error = None if well else Failed("silent")
            self.world.send(m.Probed(workload=name, number=number, error=error))

    @rule(name=names, what=st.sampled_from(["pause", "unpause", "kill", "restart"]))
    def somebody_does(self, name: str, what: str) -> None:
        """Noticed by the next look."""
        real = self.world.real[name]
        if name in self.world.jobs:
            return  # what the swap makes of that is the swap's own business, and comes with its end
        match what:
            case "pause" if real.state is State.SEATED:
                real.state = State.PAUSED
            case "unpause" if real.state is State.PAUSED:
                real.state = State.SEATED
            case "kill":
                real.state = State.STOPPED
            case "restart" if (
                sum(NEED[n] for n, r in self.world.real.items() if r.state in HOLDING and n != name) + (NEED[name])
                <= SIZE
                and not self.world.jobs
            ):
                real.incarnation += 1
                real.state = State.SEATED
            case _:
                return
        if name in self.world.core.records:
            self.world.send(self.world.devices(), self.world.look(name))

    @rule(name=names)
    def a_look_begins(self, name: str) -> None:
        if name in self.world.core.records:
            self.world.late.append(self.world.look(name))

    @rule(index=st.integers(0, 5))
    def a_late_look_is_told(self, index: int) -> None:
        if index < len(self.world.late):
            looked = self.world.late.pop(index)
            current = self.world.real[looked.workload].seen(looked.workload)
            record = self.world.core.records.get(looked.workload)
            if looked.observation == current or record is None or looked.epoch != record.epoch:
                self.world.send(looked)

    @rule(name=names)
    def an_engine_refuses(self, name: str) -> None:
        self.world.send(m.EngineDown(workload=name))

    @rule(seconds=st.sampled_from([0.5, 6.0, 31.0, 101.0]))
    def time_passes(self, seconds: float) -> None:
        self.world.tick(seconds)

    @invariant()
    def everybody_is_told_at_most_once(self) -> None:
        assert all(heard.times <= 1 for heard in [*self.world.tickets.values(), *self.commands])

    @invariant()
    def the_book_is_in_order(self) -> None:
        for record in self.world.core.records.values():
            assert not set(record.waiting) & record.in_flight.keys()
            assert not any(ticket.ended for ticket in [*record.waiting, *record.in_flight])
            for ticket in record.waiting:
                assert self.world.tickets[ticket].times == 0
            assert row(record)["state"] == record.state.value
            assert (record.job is not None) == (record.name in self.world.jobs)

    def teardown(self) -> None:
        self.world.come_to_rest()
        for ticket, heard in self.world.tickets.items():
            assert ticket.ended or heard.times == 1, f"a request for {ticket.workload} waits for ever"
        assert all(heard.times == 1 for heard in self.commands), "a command has no answer"
        for record in self.world.core.records.values():
            assert not record.waiting
            assert not record.in_flight
            assert not record.wishes
            assert record.job is None
