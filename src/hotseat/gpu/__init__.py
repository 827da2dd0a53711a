"""The GPU: the driver's checkpoint API and what the device says of itself.

Belongs here: libcuda and NVML bindings, the worker process that makes the blocking calls, its asyncio client.
Forbidden here: containers, cgroups, ptrace, policy. Nothing here decides; it does what it is told and reports truly.
"""
