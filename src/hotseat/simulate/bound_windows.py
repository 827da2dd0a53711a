"""What no schedule can beat under load: a second bound on how long people wait, all together. Pure.

Who is given a seat holds its memory from the beginning of its way in to the end of its way out, so from `in` before to
`out` after the grant at least (`bound_waits`). Cut the time of a device into windows, and look at it at the beginning
of each: those that hold memory at that moment fit on the device. A request waits at least until the beginning of the
first window, from its own on, in which its workload has a grant.

So a schedule chooses windows for each workload, and at no moment more is held than there is. The least wait of all such
choices is a bound. It is bounded once more by letting go of "no more than there is" and asking a price for it instead:
each moment has a price per byte; each workload chooses its windows alone, as is cheapest for its requests and the
prices together; and the whole of the device at these prices is given back. Whatever the prices (but below 0), that is
no more than the least of all schedules: where no more is held than there is, no more is paid than is given back (weak
duality). Good prices are looked for; none is needed for the proof.

A workload over several devices counts on one of them only.
"""

from __future__ import annotations

from bisect import bisect_left
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import accumulate, pairwise

from hotseat.simulate.fleet import Fleet

_ROUNDS = 60
"""At most so often better prices are looked for."""
_LOOKS = 12_000_000
"""At most so many pairs of windows are looked at for all devices and rounds: a few seconds."""
_IN_A_WAY = 8
"""Windows in the shortest way in and out, where there is time for so many."""

Line = tuple[int, float, int]
"""How many requests had come until after a window, the cost but for their waiting, and that window."""


def least_wait_in_windows(
    asked: Sequence[tuple[float, int]], fleet: Fleet, *, ins: Sequence[float], outs: Sequence[float]
) -> float:
    """Seconds that all requests, (time, member) in their order, together wait at least, beyond what each waits alone
    for the first way in. `ins` and `outs`: the least that a way in and a way out of each member takes."""
    arrivals: list[list[float]] = [[] for _ in fleet.members]
    for at, member in asked:
        arrivals[member].append(max(at, ins[member]))
    homes: dict[int, list[int]] = {index: [] for index in fleet.devices}
    for number, one in enumerate(fleet.members):
        if arrivals[number] and any(one.need.values()):
            homes[max(one.need, key=lambda index: one.need[index])].append(number)
    found = 0.0
    for index, numbers in homes.items():
        guests = [Guest(fleet.members[k].need[index], ins[k], outs[k], arrivals[k]) for k in numbers]
        if sum(guest.size for guest in guests) <= fleet.devices[index]:
            continue  # they fit, or there are none
        looks = _LOOKS * len(guests) // len(fleet.members)
        if (length := length_of_windows(guests, looks=looks)) is not None:
            found += Windows(guests, fleet.devices[index], length=length, looks=looks).best()
    return found


@dataclass(frozen=True, slots=True)
class Guest:
    """One workload on one device."""

    size: int
    way_in: float
    way_out: float
    arrivals: Sequence[float]


@dataclass(frozen=True, slots=True)
class _Row:
    """The same, window by window."""

    size: int
    before: int
    after: int
    """A grant in window b holds memory at the beginnings of b - before to b + after."""
    counts: list[int]
    """How many requests came before each window."""
    sums: list[float]
    """The sum of their times."""
    wanted: list[int]
    """Windows in which some came."""


def length_of_windows(guests: Sequence[Guest], *, looks: int) -> float | None:
    """Short beside any way in and out, as far as there is time for so many windows; None: they would be too long to
    tell anything."""
    ways = [guest.way_in + guest.way_out for guest in guests]
    span = max(guest.arrivals[-1] for guest in guests) - min(guest.arrivals[0] for guest in guests)
    finest: float = (
        10 * span * sum(ways) / max(1, looks)
    ) ** 0.5  # a round looks at span / length * ways / length pairs
    length = max(min(ways) / _IN_A_WAY, finest)
    return length if 0.0 < length <= min(ways) / 2 else None


class Windows:
    """The time of one device. The last windows cost nothing: whoever still waits has its seat then."""

    def __init__(self, guests: Sequence[Guest], size: int, *, length: float, looks: int) -> None:
        self._size = size
        first, last = min(g.arrivals[0] for g in guests), max(g.arrivals[-1] for g in guests)
        longest = max(guest.way_in + guest.way_out for guest in guests)
        self._length = length
        count = int((last - first) / self._length) + 1
        self.paid = count
        pad = 2 * int(longest / self._length) + 4
        self.starts = [first + n * self._length for n in range(count + pad)]
        self._rows = [self._row(guest) for guest in guests]
        pairs = sum(count * (row.before + row.after + 2) for row in self._rows)
        self._rounds = max(1, min(_ROUNDS, looks // pairs))

    def _row(self, guest: Guest) -> _Row:
        counts = [bisect_left(guest.arrivals, start) for start in self.starts]
        parts = (sum(guest.arrivals[a:b]) for a, b in pairwise([0, *counts]))
        return _Row(
            size=guest.size,
            before=int(guest.way_in / self._length) - 1,
            after=int(guest.way_out / self._length),
            counts=counts,
            sums=list(accumulate(parts)),
            wanted=[n for n, (a, b) in enumerate(pairwise(counts)) if b > a],
        )

    def best(self) -> float:
        """The best bound that was found: prices go up where more is held than there is, down where less, by Polyak's
        step towards a little more than was reached."""
        prices = self._first_prices()
        best, idle = 0.0, 0
        aim = self.value(prices)[0]
        for _ in range(self._rounds):
            value, over = self.value(prices)
            if value > best + 0.01 * aim:
                best, idle = value, 0
            else:
                best, idle = max(best, value), idle + 1
            aim = max(aim, 0.3 * best)
            if idle >= 3:
                aim, idle = aim / 2, 0
            norm = sum(x * x for x in over)
            if norm <= 0.0:
                break
            step = (max(best, value) + aim - value) / norm
            prices = [max(0.0, price + step * x) for price, x in zip(prices, over, strict=True)]
        return best

    def _first_prices(self) -> list[float]:
        """What a window is worth to the first who would have no room, if all had their grants when they ask."""
        wants: list[list[tuple[float, int]]] = [[] for _ in self.starts]
        for row in self._rows:
            done = -1
            for n in row.wanted:
                for at in range(max(done + 1, n - row.before, 0), n + row.after + 1):
                    done = at
                    a, b = max(0, at - row.after), min(len(self.starts) - 1, at + row.before + 1)
                    wants[at].append(((row.counts[b] - row.counts[a]) * self._length / row.size, row.size))
        prices = [0.0] * len(self.starts)
        for n, some in enumerate(wants[: self.paid]):
            room = self._size
            for density, size in sorted(some, reverse=True):
                room -= size
                if room < 0:
                    prices[n] = density
                    break
        return prices

    def value(self, prices: Sequence[float]) -> tuple[float, list[float]]:
        """The bound at these prices; and how many bytes more are held at each moment than there are."""
        changes = [0] * (len(prices) + 1)
        upto = [0.0, *accumulate(prices)]
        total = -upto[-1] * self._size
        for row in self._rows:
            total += self._cheapest(row, upto, changes)
        over = [0.0] * len(prices)
        for n, held in enumerate(accumulate(changes[: self.paid])):
            if prices[n] > 0.0 or held > self._size:
                over[n] = float(held - self._size)
        return total, over

    def _cheapest(self, row: _Row, upto: Sequence[float], changes: list[int]) -> float:
        """What its requests wait, and what it pays, if it chooses its windows as is cheapest. `changes`: where it
        begins and ends to hold memory."""
        total, done, end = 0.0, -1, 0
        for first in row.wanted:
            if first <= done:
                continue
            cost, windows = self._run(row, upto, first)
            total += cost
            for b in windows:
                begin, past = max(b - row.before, end), b + row.after + 1
                if begin < past:
                    changes[begin] += row.size
                    changes[past] -= row.size
                    end = past
            done = windows[-1]
        return total

    def _run(self, row: _Row, upto: Sequence[float], first: int) -> tuple[float, list[int]]:
        """Of the requests from window `first` on until a grant that costs nothing: the least cost, and the windows.

        cost(b) = what is paid for b + min over a < b of cost(a) + what those wait until b that came after a. Of a grant
        far before b nothing is shared with b: the lowest of lines in the time of b, times and slopes in order."""
        counts, sums, starts, size, after = row.counts, row.sums, self.starts, row.size, row.after
        far: list[Line] = [(counts[first], sums[first], first - 1)]
        near: deque[Line] = deque()
        parents: dict[int, int] = {}
        head, b = 0, first
        while True:
            at, begin = starts[b], max(0, b - row.before)
            while near and near[0][2] + after + 1 <= begin:
                head = _put(far, near.popleft(), head)
            while head + 1 < len(far) and far[head + 1][1] - far[head + 1][0] * at <= far[head][1] - far[head][0] * at:
                head += 1
            count, rest, parent = far[head]
            whole = size * (upto[b + after + 1] - upto[begin]) if begin <= b + after else 0.0
            least = rest - count * at + whole
            for count, rest, a in near:
                cost = rest - count * at + size * (upto[b + after + 1] - upto[a + after + 1])
                if cost < least:
                    least, parent = cost, a
            cost = least + counts[b] * at - sums[b]
            parents[b] = parent
            if whole <= 0.0:
                break
            near.append((counts[b + 1], cost + sums[b + 1], b))
            b += 1
        windows = [b]
        while (b := parents[b]) >= first:
            windows.append(b)
        return cost, windows[::-1]


def _put(lines: list[Line], new: Line, head: int) -> int:
    """Adds one behind; drops those behind `head` that are nowhere the lowest any more. The new head."""
    if lines[-1][0] == new[0]:
        if lines[-1][1] <= new[1]:
            return head
        lines.pop()
        head = min(head, len(lines))
    while len(lines) > head + 1 and _useless(lines[-2], lines[-1], new):
        lines.pop()
    lines.append(new)
    return head


def _useless(one: Line, middle: Line, new: Line) -> bool:
    return (new[1] - one[1]) * (middle[0] - one[0]) <= (middle[1] - one[1]) * (new[0] - one[0])
