"""The single writer: one asyncio task owns all scheduling state; everything else sends it messages, reads snapshots.

    book        the state itself: one record a workload, tickets of requests and commands
    core        messages in, effects out; synchronous, no I/O, no clock
    changing    part of the core: workloads come, change and go while others are served
    discovery   labelled containers, found and forgotten by themselves
    sources     who says which workloads there are: the file and labels, merged
    actor       the task: runs the core, gives its effects to `hands`, wakes it in time
    hooks       calls that the file declares around a swap
    making      containers and processes that hotseat makes itself
    hands       effects on the world: swaps, cold starts, probes, observation
    watch       what happens behind our back: platform events and a look each second
    seats       the gateway's port on the actor
    control     the control API on a unix socket; `client` is its other end
    service     puts it together, starts in order, stops cleanly
    wiring      builds the real adapters, for the daemon and for commands without one

Belongs here: the above. Forbidden here: deciding who sits (scheduler), how a swap goes (swap), drawing (cli).
"""
