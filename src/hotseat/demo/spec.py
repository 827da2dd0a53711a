"""A demo engine's command line as a record."""

from __future__ import annotations

from dataclasses import dataclass

from hotseat import native

BINARY = "hotseat-demo-engine"
TOKEN_BYTES = 512
"""What one token takes of the KV cache."""
BLOCK_TOKENS = 16
"""The prefix cache remembers whole blocks of so many tokens."""


@dataclass(frozen=True, slots=True, kw_only=True)
class EngineSpec:
    """What a demo engine is started with. The defaults are small enough for tests on the emulated driver."""

    models: tuple[str, ...] = ("demo",)
    """Names for the same weights."""
    host: str = "127.0.0.1"
    port: int = 0
    """0 = a free one; the engine prints it."""
    weights_bytes: int = 256 << 10
    kv_bytes: int = 1 << 20
    """`TOKEN_BYTES` a token."""
    seed: int = 1
    tokens_per_second: float = 0
    """Of each answer; 0 = as fast as it goes."""
    devices: tuple[int, ...] = (0,)
    """Weights and KV cache are split over them."""
    processes: int = 1
    threads: int = 0
    """CPU threads that do nothing, beside those it needs."""
    max_context: int | None = None
    """Tokens of prompt and answer together; None = 4096, or what the KV cache holds."""
    grace_seconds: float | None = None
    """Time for running answers after SIGTERM; None = the engine's default."""

    def arguments(self) -> list[str]:
        """What follows the program's name."""
        options = [f"--model={model}" for model in self.models]
        options += [
            f"--host={self.host}",
            f"--port={self.port}",
            f"--weights={self.weights_bytes}",
            f"--kv={self.kv_bytes}",
            f"--seed={self.seed}",
            f"--tokens-per-second={self.tokens_per_second:g}",
            f"--devices={','.join(map(str, self.devices))}",
            f"--processes={self.processes}",
            f"--threads={self.threads}",
        ]
        if self.max_context is not None:
            options.append(f"--max-context={self.max_context}")
        if self.grace_seconds is not None:
            options.append(f"--grace={self.grace_seconds:g}")
        return options

    def command(self, program: str | None = None) -> list[str]:
        """The whole command; `program` is where the engine lies, by default in this installation (`NotFound`)."""
        return [program or str(native.path(BINARY)), *self.arguments()]


def hold_command(bytes_: int, *, devices: tuple[int, ...] = (0,), program: str | None = None) -> list[str]:
    """The command of a process that occupies `bytes_` on each device and does nothing, until SIGTERM."""
    names = ",".join(map(str, devices))
    return [program or str(native.path(BINARY)), f"--hold={bytes_}", f"--devices={names}"]
