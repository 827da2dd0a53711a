"""Connections of interposers, without a store behind them."""

from __future__ import annotations

import asyncio
import socket

from hotseat.store import wire
from hotseat.store.agents import Agent
from hotseat.store.wire import Message, Type
from hotseat.words import ProcessRef


async def test_a_process_that_never_stops_speaking_leaves_others_their_turn() -> None:
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    theirs.setblocking(False)
    freed = bytes(wire.Freed(wire.head(Type.FREED, 0), 1))
    heard = 0
    one = asyncio.Event()

    def hear(agent: Agent, message: Message) -> None:
        nonlocal heard
        heard += 1
        one.set()
        if heard < 1000:
            theirs.send(freed)  # there is always one more

    agent = Agent(ours, ProcessRef(1, 1), on_message=hear)
    theirs.send(freed)
    await one.wait()
    assert heard < 1000
    agent.close()
    theirs.close()
