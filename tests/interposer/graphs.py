"""Streams that are captured, for `program.py`."""

from __future__ import annotations

import ctypes
import threading
from collections.abc import Callable
from typing import Any


class Graphs:
    def __init__(self, call: Callable[..., int]) -> None:
        self.call = call
        self.streams: dict[Any, ctypes.c_void_p] = {}
        self.graphs: dict[Any, ctypes.c_void_p] = {}
        self.stopped = threading.Event()

    def must(self, name: str, *arguments: Any) -> None:
        if result := self.call(name, *arguments):
            raise RuntimeError(f"{name}: {result}")

    def stream(self, name: Any) -> ctypes.c_void_p:
        if name not in self.streams:
            self.streams[name] = ctypes.c_void_p()
            self.must("cuStreamCreate", ctypes.byref(self.streams[name]), 1)
        return self.streams[name]

    def begin_again(self, name: Any, mode: int) -> int:
        """Into the graph that its last capture made, by a call that the interposer's header does not have."""
        nothing = ctypes.c_void_p()
        return self.call("cuStreamBeginRecaptureToGraph", self.stream(name), mode, self.graphs[name], nothing, nothing)

    def begin(self, name: Any, mode: int, given: bool = False) -> int:
        """`given`: into a graph that is there already."""
        if not given:
            return self.call("cuStreamBeginCapture_v2", self.stream(name), mode)
        graph, nothing = ctypes.c_void_p(), ctypes.c_void_p()
        self.must("cuGraphCreate", ctypes.byref(graph), 0)
        return self.call(
            "cuStreamBeginCaptureToGraph", self.stream(name), graph, nothing, nothing, ctypes.c_size_t(0), mode
        )

    def end(self, name: Any) -> int:
        graph = self.graphs[name] = ctypes.c_void_p()
        return self.call("cuStreamEndCapture", self.stream(name), ctypes.byref(graph))

    def launch(self, name: Any) -> None:
        exec_ = ctypes.c_void_p()
        self.must("cuGraphInstantiateWithFlags", ctypes.byref(exec_), self.graphs[name], ctypes.c_ulonglong(0))
        self.must("cuGraphLaunch", exec_, self.stream(name))
        self.must("cuStreamSynchronize", self.stream(name))
        self.must("cuGraphExecDestroy", exec_)

    def set(self, name: Any, at: int, size: int, value: int) -> None:
        self.must("cuMemsetD8Async", ctypes.c_ulonglong(at), value, ctypes.c_size_t(size), self.stream(name))

    def destroy(self, name: Any) -> None:
        self.must("cuStreamDestroy_v2", self.streams.pop(name))

    def capture_on_and_on(self, context: ctypes.c_void_p, name: Any, at: int, size: int) -> threading.Thread:
        """In a thread, one graph after the other, until `stopped`. A capture that fails ends the program."""

        def run() -> None:
            self.must("cuCtxSetCurrent", context)
            while not self.stopped.is_set():
                assert self.begin(name, 0) == 0
                self.set(name, at, size, 1)
                assert self.end(name) == 0
                self.must("cuGraphDestroy", self.graphs[name])

        thread = threading.Thread(target=run)
        thread.start()
        return thread
