"""Keeps looptime from making an event loop for a test that is not asynchronous.

looptime 0.9 asks the policy for "the" loop before every test; where none was ever set the policy makes one, nobody
closes it, and its ResourceWarning strikes some later test. With "no loop" set on purpose the policy refuses, which
looptime expects.
"""

from __future__ import annotations

import asyncio
import inspect
from collections.abc import Generator
from typing import Any

import pytest


@pytest.hookimpl(wrapper=True)
def pytest_runtest_call(item: pytest.Item) -> Generator[None, Any, Any]:
    if isinstance(item, pytest.Function) and not inspect.iscoroutinefunction(item.obj):
        asyncio.set_event_loop(None)
    return (yield)
