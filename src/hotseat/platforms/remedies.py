"""What a person types to start, unpause or give room to a container of each platform, for hints. Pure words.

Only an engine has a command of its own name: for a process tree the way is the shell's.
"""

from __future__ import annotations


def start(platform: str, name: str) -> str:
    if platform == "process":
        return "run its program again"
    return f"`{platform} start {name}`"


def restart(platform: str, name: str) -> str:
    if platform == "process":
        return f"end the processes of {name} and run its program again"
    return f"`{platform} restart {name}`"


def unpause(platform: str, name: str, *, pid: int | None = None) -> str:
    """`pid`: of its first process, where that is known."""
    if platform == "process":
        who = pid if pid is not None else "PID"
        return f"`kill -CONT {who}` and the same for every process beneath it, or thaw the cgroup that froze it"
    return f"`{platform} unpause {name}`"


def raise_memory_limit(platform: str, name: str, nbytes: int) -> str:
    """`nbytes`: the limit that would do."""
    if platform == "process":
        return f"raise the memory limit of its cgroup to {nbytes} bytes"
    return f"`{platform} update --memory {nbytes} {name}`"
