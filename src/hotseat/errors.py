"""Every error that hotseat raises on purpose.

    HotseatError
    +-- UsageError             the request itself is wrong                       exit 2, HTTP 400
    |   +-- ConfigError        hotseat.yaml is wrong, with the place
    +-- NotFound               no such workload, container, model                exit 3, HTTP 404
    +-- Refused                a rule forbids it; nothing was touched            exit 4, HTTP 409
    |   +-- NoRoom             the device or the host lacks the memory           exit 4, HTTP 503
    |   +-- Busy               another swap of this workload is under way        exit 4, HTTP 409
    |   +-- Unavailable        it cannot serve now: paused, stopped, waited long exit 4, HTTP 503
    |   +-- TooMany            a queue is full, a key has all it may have        exit 4, HTTP 429
    |   +-- Unauthorized       no key, or none that is known                     exit 4, HTTP 401
    |   +-- Forbidden          this key may not do that                          exit 4, HTTP 403
    +-- Failed                 it was tried and did not work                     exit 1, HTTP 502
        +-- DriverFailed       a checkpoint or NVML call said no
        |   +-- DriverTimeout  ... or nothing, within its deadline
        |   +-- WorkerDied     the process that makes the calls is gone
        +-- PlatformFailed     docker, podman or a cgroup said no
        +-- FreezeFailed       a thread would not stop in time
        +-- EngineFailed       an engine refuses connections, breaks off, fails its probe
        |   +-- EngineTimeout  ... or says nothing, within its deadline            HTTP 504
        +-- ProcessGone        a process ended, or its pid now belongs to another
        +-- VerifyFailed       the call succeeded, the world disagrees
        +-- RolledBack         a swap failed before its commit; the workload runs on unharmed
        +-- Quarantined        a swap failed after its commit                    HTTP 503

Why our own: a caller (CLI, gateway, daemon) must map a failure to an exit code, an HTTP status and a sentence that
says what to do, whichever library it came from. Each adapter translates its library's errors in one place. We do not
wrap programming errors (TypeError, AssertionError), asyncio.CancelledError, nor KeyboardInterrupt.

`code` is stable and documented in docs/errors.md; a test checks that every code stands there.
"""

from __future__ import annotations

from typing import Any, ClassVar


class HotseatError(Exception):
    """Base. `message` says what happened, `hint` what to do about it, `rule` (refusals) which rule forbids it."""

    code: ClassVar[str] = "error"
    http_status: ClassVar[int] = 500
    exit_code: ClassVar[int] = 1

    def __init__(self, message: str, *, hint: str = "", rule: str = "", **details: Any) -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint
        self.rule = rule
        self.details = details

    def as_dict(self) -> dict[str, Any]:
        """For --json and the control API."""
        out: dict[str, Any] = {"code": self.code, "message": self.message}
        if self.hint:
            out["hint"] = self.hint
        if self.rule:
            out["rule"] = self.rule
        if self.details:
            out["details"] = self.details
        return out


class UsageError(HotseatError):
    code = "usage"
    http_status = 400
    exit_code = 2


class ConfigError(UsageError):
    code = "config"


class NotFound(HotseatError):
    code = "not_found"
    http_status = 404
    exit_code = 3


class Refused(HotseatError):
    code = "refused"
    http_status = 409
    exit_code = 4


class NoRoom(Refused):
    code = "no_room"
    http_status = 503


class Busy(Refused):
    code = "busy"


class Unavailable(Refused):
    """`details["retry_after"]`: seconds after which it is worth trying again, if that is known."""

    code = "unavailable"
    http_status = 503


class TooMany(Refused):
    """`details["retry_after"]`: seconds after which it is worth trying again, if that is known."""

    code = "too_many"
    http_status = 429


class Unauthorized(Refused):
    code = "unauthorized"
    http_status = 401


class Forbidden(Refused):
    code = "forbidden"
    http_status = 403


class Failed(HotseatError):
    code = "failed"
    http_status = 502
    exit_code = 1


class DriverFailed(Failed):
    """A driver call returned an error. `result` is the CUresult or nvmlReturn number, if there was one."""

    code = "driver_failed"

    def __init__(self, message: str, *, result: int | None = None, hint: str = "", **details: Any) -> None:
        super().__init__(message, hint=hint, **details)
        self.result = result


class DriverTimeout(DriverFailed):
    code = "driver_timeout"


class WorkerDied(DriverFailed):
    code = "worker_died"


class PlatformFailed(Failed):
    code = "platform_failed"


class FreezeFailed(Failed):
    code = "freeze_failed"


class EngineFailed(Failed):
    code = "engine_failed"


class EngineTimeout(EngineFailed):
    code = "engine_timeout"
    http_status = 504


class ProcessGone(Failed):
    code = "process_gone"


class VerifyFailed(Failed):
    code = "verify_failed"


class RolledBack(Failed):
    """The swap did not happen and the workload runs on (or stays parked) as before. `__cause__` is the reason."""

    code = "rolled_back"


class Quarantined(Failed):
    code = "quarantined"
    http_status = 503
