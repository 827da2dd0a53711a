"""Container platforms: docker, podman, and a bare process tree that hotseat starts itself.

Belongs here: one module a platform, each behind `port.Platform`. Errors of their libraries become `PlatformFailed`,
`NotFound` or `Refused` here and nowhere else. Forbidden here: CUDA, ptrace, policy.
"""
