"""The scheduler on a virtual clock: a trace of requests, a fleet, and what would have come of it.

What decides is `hotseat.scheduler.decide`, the very code of the daemon; the world around it is simulated, and
docs/simulate.md says how. Belongs here: traces, fleets, the virtual world, baselines, bounds, figures. Forbidden here:
another policy under hotseat's name, a clock, randomness without a seed, and I/O but for `reading`.
"""

from hotseat.simulate.fleet import Costs, Fleet, Member, Service
from hotseat.simulate.run import Outcome, simulate
from hotseat.simulate.trace import Trace

__all__ = ["Costs", "Fleet", "Member", "Outcome", "Service", "Trace", "simulate"]
