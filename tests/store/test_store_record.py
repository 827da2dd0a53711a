"""The record that outlives a worker: whole or the one before, never half."""

from __future__ import annotations

import os
from collections.abc import Iterator

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from hotseat.store.record import HEADER, ParkedBlock, ParkedProcess, Record, RecordFiles


@pytest.fixture
def files() -> Iterator[list[int]]:
    fds = [os.memfd_create(name) for name in ("a", "b")]
    yield fds
    for fd in fds:
        os.close(fd)


def record(number: int) -> Record:
    blocks = [ParkedBlock(number, 2 << 20, 4 << 20, bytes(16))]
    return Record(np.array([number], dtype=np.int32).tobytes(), bytes(16), [ParkedProcess(number, 7, blocks, bytes(8))])


def test_nothing_is_read_where_nothing_was_written(files: list[int]) -> None:
    assert RecordFiles(files).read() is None


@given(numbers=st.lists(st.integers(1, 1000), min_size=1, max_size=5))
def test_the_newest_is_read_and_the_next_writer_goes_on_from_it(numbers: list[int]) -> None:
    fds = [os.memfd_create(name) for name in ("a", "b")]
    try:
        for number in numbers:
            writer = RecordFiles(fds)  # each a worker of its own
            writer.read()
            writer.write(record(number))
            assert RecordFiles(fds).read() == record(number)
    finally:
        for fd in fds:
            os.close(fd)


@pytest.mark.parametrize("damage", ["cut", "changed", "header"])
def test_a_writer_that_died_leaves_the_record_before(files: list[int], damage: str) -> None:
    writer = RecordFiles(files)
    writer.write(record(1))
    writer.write(record(2))
    newest = files[0]
    size = os.fstat(newest).st_size
    if damage == "cut":
        os.ftruncate(newest, size - 1)
    elif damage == "changed":
        last = os.pread(newest, 1, size - 1)
        os.pwrite(newest, bytes([last[0] ^ 1]), size - 1)
    else:
        os.pwrite(newest, bytes(HEADER.size), 0)
    assert RecordFiles(files).read() == record(1)
