"""hotseat's gateway with the daemon's own seats over one seated workload: ours.py PORT ENGINE_URL.

The actor and its core are the daemon's; only the hands, which would touch containers, are a double.
"""

from __future__ import annotations

import asyncio
import sys

import uvloop

from hotseat.gateway import Gateway
from hotseat.testing.seats import FakeSeats


async def serve() -> None:
    gateway = Gateway(FakeSeats({"m": sys.argv[2]}))
    await gateway.start(host="127.0.0.1", port=int(sys.argv[1]))
    await asyncio.Event().wait()


if __name__ == "__main__":
    uvloop.run(serve())
