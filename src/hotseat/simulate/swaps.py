"""How a simulated workload comes to its seat and leaves it. Pure.

Part of the world: that one says when, this one what follows from it and how long it takes.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from hotseat.scheduler import STOP_DRAIN, Action, Kind, keep_for
from hotseat.simulate.engine import Engine
from hotseat.words import State

if TYPE_CHECKING:
    from hotseat.simulate.world import World


class Swaps:
    def __init__(self, world: World) -> None:
        self._world = world

    def begin(self, engine: Engine, action: Action) -> None:
        match action.kind:
            case Kind.SWAP_OUT | Kind.STOP:
                self._send_off(engine, stop=action.kind is Kind.STOP)
            case Kind.SWAP_IN:
                self._come(engine, engine.member.in_seconds)
                self._world.tallies[engine.number].swaps_in += 1
            case Kind.START:
                self._come(engine, engine.member.costs.start)
                self._world.tallies[engine.number].starts += 1

    def _come(self, engine: Engine, seconds: float) -> None:
        engine.state = State.SWAPPING_IN
        self._world.note(engine)
        self._world.meter(engine, moving=1)
        self._world.tallies[engine.number].seconds += seconds
        self._world.at(self._world.now + seconds, self._seated, engine)

    def _seated(self, engine: Engine, now: float) -> None:
        engine.state = State.SEATED
        engine.seated_since = now
        engine.parked_bytes = 0
        engine.has_sat = True
        engine.thaw(now)
        self._world.meter(engine, moving=-1)
        if engine.busy:
            self._world.works(engine)
        self._world.note(engine)
        if self._world.policy.in_order:
            self._world.advance()
        self._world.settle(engine)

    def _send_off(self, engine: Engine, *, stop: bool) -> None:
        was_parked = engine.state is State.PARKED
        engine.state = State.SWAPPING_OUT
        engine.stopping = stop
        if not was_parked:
            engine.parked_bytes = 0 if stop else engine.member.nbytes
        self._world.note(engine)
        if was_parked:
            self._finish_at(engine, engine.member.costs.stop)
        elif engine.busy and (stop or self._world.policy.drains or engine.member.drain is not None):
            engine.draining = True
            if not self._world.policy.drains:
                drain = engine.member.drain
                engine.drain_until = self._world.now + (STOP_DRAIN if drain is None else drain)
                self._world.at(engine.drain_until, self._drain_ends, engine)
        else:
            self.leave(engine)

    def _drain_ends(self, engine: Engine, now: float) -> None:
        """What is left of a swap out's answers is frozen. A stop would cut them: it is given up, to be asked again."""
        if not engine.draining or engine.drain_until != now or engine.idle_time() <= now:
            return
        if not engine.stopping:
            self.leave(engine)
            return
        engine.draining, engine.stopping, engine.state = False, False, State.SEATED
        engine.kept += 1
        engine.keep_until = now + keep_for(engine.kept)
        self._world.note(engine)
        self._world.settle(engine)

    def leave(self, engine: Engine) -> None:
        """Its seat is taken now; what it has not answered yet is frozen."""
        engine.draining = False
        if engine.busy:
            self._world.meter(engine, computing=-1)
        engine.freeze(self._world.now)
        if engine.busy and not engine.running:  # it has ended in this very moment
            engine.busy, engine.last_used = False, self._world.now
        self._world.meter(engine, moving=1)
        self._finish_at(engine, engine.member.costs.stop if engine.stopping else engine.member.out_seconds)

    def _finish_at(self, engine: Engine, seconds: float) -> None:
        self._world.tallies[engine.number].seconds += seconds
        self._world.at(self._world.now + seconds, self._gone, engine)

    def _gone(self, engine: Engine, now: float) -> None:
        tally = self._world.tallies[engine.number]
        engine.kept = 0
        if not engine.on_host:
            self._world.meter(engine, moving=-1)
        if engine.stopping:
            tally.stops += 1
            engine.state, engine.stopping, engine.parked_bytes = State.STOPPED, False, 0
        else:
            tally.swaps_out += 1
            engine.state = State.PARKED
            engine.frozen_since = now
        self._world.note(engine)
        self._world.decide()
