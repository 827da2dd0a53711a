"""The process that makes the driver's calls: `python -m hotseat.gpu.worker FD ROLE PARENT LIBRARY`.

A driver call can hang in the kernel, where nothing stops it but the end of its process; so this process is made to be
killed. It keeps no state: what was done stands in the driver. It never makes a CUDA context, so it holds no GPU memory.

FD is one end of a socket pair (wire.py). ROLE is "cuda" or "nvml". PARENT is the pid that started it: the worker ends
when that process ends, whichever way. LIBRARY is a name for the loader or a path.

It imports little: it is started anew after every hang, and a swap may be waiting.
"""

from __future__ import annotations

import ctypes
import os
import signal
import sys
import threading

from hotseat.gpu import calls, procfs, wire
from hotseat.gpu.cuda_abi import CHECKPOINT_CALLS, CUDA_SUCCESS, Cuda

PR_SET_PDEATHSIG = 1  # prctl(2)


class Channel:
    """Our end of the socket pair. Several threads may send; one reads."""

    def __init__(self, fd: int) -> None:
        self._fd = fd
        self._sending = threading.Lock()

    def send(self, message: wire.Answer) -> None:
        data = memoryview(wire.encode(message))
        with self._sending:
            try:
                while data:
                    data = data[os.write(self._fd, data) :]
            except OSError:
                os._exit(0)  # nobody listens any more

    def receive(self) -> wire.Request | None:
        """The next request, None once the client closed its end."""
        header = self._read(wire.HEADER)
        if header is None:
            return None
        length = int.from_bytes(header, "little")
        body = self._read(length) if length <= wire.MAX_MESSAGE else None
        return None if body is None else wire.decode_request(body)

    def _read(self, length: int) -> bytes | None:
        data = b""
        while len(data) < length:
            try:
                part = os.read(self._fd, length - len(data))
            except ConnectionError:
                part = b""
            if not part:
                return None
            data += part
        return data


def end_with_parent(parent: int) -> None:
    """Let the kernel kill us when the parent ends. The end of file on the socket does so too, but only if no other
    process inherited the parent's end."""
    ctypes.CDLL(None, use_errno=True).prctl(PR_SET_PDEATHSIG, int(signal.SIGKILL), 0, 0, 0)
    if os.getppid() != parent:  # it ended before we asked
        os._exit(0)


def start_cuda(library: str) -> tuple[Cuda | None, wire.Hello]:
    try:
        cuda = Cuda(library)
    except OSError as error:
        return None, wire.Hello(role="cuda", error=f"cannot load {library}: {error}")
    missing = [name for name in CHECKPOINT_CALLS if name in cuda.missing]
    hello = wire.Hello(role="cuda", library=procfs.mapped_file(cuda.address()), missing=missing)
    version = cuda.driver_version()
    hello.version = f"{version // 1000}.{version % 1000 // 10}" if version else ""
    result = cuda.init()
    if result != CUDA_SUCCESS:
        hello.error = f"cuInit: {cuda.error_name(result)} ({result}) {cuda.error_string(result)}".strip()
        hello.result = result
        return None, hello
    hello.device_names = cuda.device_names()
    return cuda, hello


def run_cuda(channel: Channel, library: str) -> None:
    cuda, hello = start_cuda(library)
    channel.send(hello)
    if cuda is None:
        return

    def serve(request: wire.Request) -> None:
        try:
            calls.serve(cuda, request, channel.send)
        except Exception as error:  # whatever it was, the client must hear of it
            channel.send(wire.Broken(request.id, f"{type(error).__name__}: {error}"))

    while (request := channel.receive()) is not None:
        # In a thread of its own, so that this one sees the client's end of file while a call hangs.
        threading.Thread(target=serve, args=(request,), daemon=True).start()


def run_nvml(channel: Channel, library: str) -> None:
    from hotseat.gpu import nvml  # only here: the import takes 25 ms

    hello = nvml.start(library)
    channel.send(hello)
    if hello.error:
        return
    while (request := channel.receive()) is not None:
        channel.send(nvml.serve(request))


def main(arguments: list[str]) -> None:
    try:
        fd, role, parent, library = int(arguments[0]), arguments[1], int(arguments[2]), arguments[3]
        run = {"cuda": run_cuda, "nvml": run_nvml}[role]
    except (IndexError, KeyError, ValueError):
        sys.exit("usage: python -m hotseat.gpu.worker FD cuda|nvml PARENT LIBRARY (hotseat starts this by itself)")
    end_with_parent(parent)
    # The terminal's Ctrl-C is for the client, which may have to unlock a process first.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    run(Channel(fd), library)
    # Not sys.exit: the interpreter would wait for threads that hang in the driver.
    os._exit(0)


if __name__ == "__main__":
    main(sys.argv[1:])
