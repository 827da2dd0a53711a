"""Which page is where, and who may see it."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable

from hotseat.dashboard import answers
from hotseat.dashboard.events_page import EventsPage
from hotseat.dashboard.feed import feed
from hotseat.dashboard.files import Files
from hotseat.dashboard.port import House
from hotseat.errors import NotFound
from hotseat.gateway.admin import prewarm_seconds
from hotseat.gateway.site import Handler, Inquiry, Reply

API = "/ui/api/"
MOST_LINES = 10_000


class Pages:
    """A `gateway.site.Site`.

    `keys`: whether there are API keys now, so that who has none is asked for one. `public`: anyone may come in without
    a key; then anyone may look, and nobody may act or read logs from here.
    """

    def __init__(
        self,
        house: House,
        *,
        keys: Callable[[], bool],
        public: bool = False,
        ui: bool = True,
        metrics: bool = True,
    ) -> None:
        self._house = house
        self._keys = keys
        self._open = public
        self._files = Files() if ui else None
        self._pages: dict[tuple[str, str], Handler] = {("GET", "/events"): EventsPage(house.events)}
        if metrics:
            self._pages["GET", "/metrics"] = self._metrics
        if ui:
            self._pages["GET", API + "who"] = self._who
            self._pages["GET", API + "stream"] = self._stream

    def find(self, method: str, path: str) -> Handler | None:
        method = "GET" if method == "HEAD" else method
        if (handler := self._pages.get((method, path))) is not None:
            return handler
        if self._files is None:
            return None
        if path.startswith(API + "workloads/"):
            return self._workload
        return self._files.find(method, path)

    @property
    def _public(self) -> bool:
        return self._open and not self._keys()

    def _may_look(self, inquiry: Inquiry) -> None:
        if not self._public:
            answers.admin_only(inquiry)

    async def _metrics(self, inquiry: Inquiry) -> Reply:
        self._may_look(inquiry)
        kind, text = self._house.exposition()
        return Reply(headers=[("Content-Type", kind), answers.NO_STORE], body=text)

    async def _who(self, inquiry: Inquiry) -> Reply:
        """What the page may do for whoever asks; nothing that is secret."""
        if inquiry.admin:
            why = ""
        elif self._public:
            why = "this gateway is open to others without keys: set `keys` to act from here"
        elif self._keys():
            why = "an admin key is needed"
        else:
            why = "this page answers to this host only: open it at http://127.0.0.1"
        look = inquiry.admin or self._public
        return answers.json({"admin": inquiry.admin, "look": look, "keys": self._keys(), "why": why})

    async def _stream(self, inquiry: Inquiry) -> Reply:
        self._may_look(inquiry)
        return answers.stream(feed(self._house))

    async def _workload(self, inquiry: Inquiry) -> Reply:
        answers.admin_only(inquiry)
        name, _, what = inquiry.path.removeprefix(API + "workloads/").rpartition("/")
        match inquiry.method, what:
            case "GET", "logs":
                tail = answers.number(inquiry, "tail", default=200, least=0, most=MOST_LINES)
                follow = inquiry.query.get("follow", "") not in ("", "0")
                return await _text(self._house.logs(name, tail=tail, follow=follow))
            case "POST", "park":
                answers.body_of(inquiry)
                return answers.json({"reports": await self._house.park(name)})
            case "POST", "seat":
                answers.body_of(inquiry)
                return answers.json({"reports": await self._house.seat(name)})
            case "POST", "prewarm":
                answers.body_of(inquiry)
                return answers.json(await self._house.prewarm(name, seconds=prewarm_seconds(inquiry.body)))
        raise NotFound(f"no page {inquiry.method} {inquiry.path[:200]}")


async def _text(chunks: AsyncIterator[bytes]) -> Reply:
    """Plain text as it comes. What fails at once fails with its own status."""
    try:
        first = await anext(chunks)
    except StopAsyncIteration:
        first = b""

    async def all_of_it() -> AsyncIterator[bytes]:
        yield first
        async for chunk in chunks:
            yield chunk

    headers = [("Content-Type", "text/plain; charset=utf-8"), answers.NO_STORE, answers.NO_SNIFF]
    return Reply(headers=headers, body=all_of_it())
