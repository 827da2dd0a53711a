"""The snapshot store: device memory of parked workloads, in pinned host memory outside every container.

Belongs here: the store's process, what it and the interposer say to each other, its control socket and client.
Forbidden here: containers, cgroups, ptrace, policy, the checkpoint API but for custom storage, whose caller must be who
has the arena. The store moves what it is told to move; the swap transaction above decides when, and does the driver's
part beside it.
"""
