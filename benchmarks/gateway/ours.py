"""The whole daemon over one seated workload: ours.py PORT ENGINE_URL.

Gateway, keys, metrics, actor and core are the product's; only containers and the GPU are doubles.
"""

from __future__ import annotations

import sys
import tempfile
from pathlib import Path

import uvloop

from hotseat import config
from hotseat.daemon.service import serve
from hotseat.daemon.stopping import Order
from hotseat.daemon.wiring import Runtime
from hotseat.events import EventBus
from hotseat.platforms.spec import ContainerSpec
from hotseat.testing.platforms import FakePlatform
from hotseat.testing.swapper import FakeSwapper

TEXT = """
control: c.sock
state: state
gateway: {{port: {port}}}
workloads:
  m: {{url: '{url}'}}
"""


async def main(port: int, url: str) -> None:
    platform, processes = FakePlatform(name="docker"), FakePlatform(name="process")
    await platform.start(await platform.create(ContainerSpec(name="m", command=("x",))))
    swapper = FakeSwapper(sizes={0: 10}, memory={"m": {0: 8}}, platforms=[platform, processes])
    runtime = Runtime(
        swapper=swapper,
        platforms={"docker": platform, "process": processes},  # type: ignore[dict-item]
        driver=None,  # type: ignore[arg-type]
        devices=swapper,
        journal=None,
        events=EventBus(),
    )
    with tempfile.TemporaryDirectory() as directory:
        settings = config.parse(TEXT.format(port=port, url=url), base=Path(directory))
        await serve(settings, runtime, order=Order())


if __name__ == "__main__":
    uvloop.run(main(int(sys.argv[1]), sys.argv[2]))
