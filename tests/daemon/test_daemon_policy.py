"""What a workload's settings and the host's memory make the core do: who is stopped, restarted, warmed up, refused."""

from __future__ import annotations

from daemon_machine import AnyOrder
from daemon_world import Heard, World
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import rule

from hotseat.config import HostMemory
from hotseat.daemon import messages as m
from hotseat.daemon.book import JobKind
from hotseat.errors import NoRoom

POLICY = """
defaults: {min_stay: 5s, linger: 1s, max_wait: 100s, max_queue: 3}
workloads:
  a: {port: 1, idle_timeout: 20s, priority: 5}
  b: {port: 2, drain: 10s, on_quarantine: restart}
  c: {port: 3, start: false, preload: true}
  d: {port: 4, idle_timeout: 10s, idle: stop, on_quarantine: restart}
"""


class AnyPolicy(AnyOrder):
    """The same with every setting that the scheduler knows, and with memory that comes and goes."""

    def make(self) -> World:
        return World(POLICY, host=HostMemory(parked=24, reserve=0))

    @rule(name=AnyOrder.names, seconds=st.sampled_from([0.0, 5.0, 30.0]))
    def somebody_hints(self, name: str, seconds: float) -> None:
        heard = Heard()
        self.commands.append(heard)
        self.world.send(m.Prewarm(workload=name, seconds=seconds, answer=heard))

    @rule(available=st.sampled_from([0, 3, 10, 100]))
    def host_memory_changes(self, available: int) -> None:
        self.world.send(m.HostMemory(available=available))

    @rule(foreign=st.sampled_from([0, 0, 3, 10]))
    def strangers_use_the_device(self, foreign: int) -> None:
        self.world.foreign = foreign
        self.world.send(self.world.devices())

    @rule(name=AnyOrder.names)
    def parking_finds_no_host_memory(self, name: str) -> None:
        if self.world.jobs.get(name) is JobKind.SWAP_OUT:
            self.world.end_job(name, NoRoom("the container's limit", rule="host memory"))

    @rule()
    def the_daemon_preloads(self) -> None:
        self.world.send(m.Preload())

    def teardown(self) -> None:
        self.world.foreign = 0
        self.world.send(m.HostMemory(available=100))
        super().teardown()


TestAnyPolicy = AnyPolicy.TestCase
TestAnyPolicy.settings = settings(
    max_examples=60, stateful_step_count=40, deadline=None, suppress_health_check=[HealthCheck.too_slow]
)
