"""Requests out of bytes: the same however they are cut, and none that two readers could take for two."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hotseat.gateway.http.heads import Heads, split
from hotseat.gateway.http.reader import MOST_HEADERS, RequestReader
from hotseat.gateway.http.request import BadRequest, Head, Request

GOOD = (
    b"POST /v1/a?x=%20y HTTP/1.1\r\nHost: h\r\nContent-Length: 5\r\nX-A:  spaced  \r\n\r\nhello"
    b"GET /b HTTP/1.1\r\nHost: h\r\n\r\n"
    b"POST /c%2Fd HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n"
    b"3;ext=1\r\nabc\r\n4\r\ndefg\r\n0\r\nX-T: 1\r\n\r\n"
    b"POST /h2 HTTP/1.1\r\nHost: h\r\nConnection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\nHTTP2-Settings: AA\r\n"
    b"Content-Length: 2\r\n\r\nhi"
    b"POST /v1/a?x=%20y HTTP/1.1\r\nHost: h\r\nContent-Length: 3\r\nX-A:  spaced  \r\n\r\nbye"
    b"GET /ws HTTP/1.1\r\nHost: h\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\nraw bytes"
)
WANTED = [
    ("POST", "/v1/a", b"hello", []),
    ("GET", "/b", b"", []),
    ("POST", "/c/d", b"abcdefg", [(b"X-T", b"1")]),
    ("POST", "/h2", b"hi", []),
    ("POST", "/v1/a", b"bye", []),
    ("GET", "/ws", b"", []),
]


def read(pieces: list[bytes], heads: Heads[Head] | None = None, **limits: int) -> list[Request]:
    requests: list[Request] = []
    reader = RequestReader(requests.append, max_header=limits.get("max_header", 65536), heads=heads or Heads())
    for piece in pieces:
        reader.feed(piece)
    return requests


def told(requests: list[Request]) -> list[tuple[str, str, bytes, list[tuple[bytes, bytes]]]]:
    return [(one.method, one.path, one.body.whole(), list(one.body.trailers)) for one in requests]


@given(st.lists(st.integers(0, len(GOOD)), max_size=12).map(sorted))
def test_any_cut_gives_the_same_requests(cuts: list[int]) -> None:
    ends = [*cuts, len(GOOD)]
    starts = [0, *cuts]
    requests = read([GOOD[start:end] for start, end in zip(starts, ends, strict=True)])
    assert told(requests) == WANTED
    assert all(one.body.complete for one in requests)
    assert requests[0].by_name[b"x-a"] == b"spaced"
    assert (requests[3].upgrade, requests[5].upgrade, requests[5].early) == (b"", b"websocket", b"raw bytes")


def test_byte_by_byte() -> None:
    assert told(read([GOOD[at : at + 1] for at in range(len(GOOD))])) == WANTED


HOST = b"Host: h\r\n"
SMUGGLING = {
    "both framings": HOST + b"Content-Length: 3\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
    "both, other order": HOST + b"Transfer-Encoding: chunked\r\nContent-Length: 3\r\n\r\n0\r\n\r\n",
    "two lengths": HOST + b"Content-Length: 3\r\nContent-Length: 4\r\n\r\nabcd",
    "two equal lengths": HOST + b"Content-Length: 3\r\nContent-Length: 3\r\n\r\nabc",
    "a list of lengths": HOST + b"Content-Length: 3, 3\r\n\r\nabc",
    "a length with a sign": HOST + b"Content-Length: +3\r\n\r\nabc",
    "a length in hexadecimal": HOST + b"Content-Length: 0x3\r\n\r\nabc",
    "a negative length": HOST + b"Content-Length: -1\r\n\r\n",
    "a huge length": HOST + b"Content-Length: 99999999999999999999999\r\n\r\n",
    "space before the colon": HOST + b"Content-Length : 3\r\n\r\nabc",
    "another coding": HOST + b"Transfer-Encoding: xchunked\r\n\r\n0\r\n\r\n",
    "chunked is not last": HOST + b"Transfer-Encoding: chunked, identity\r\n\r\n0\r\n\r\n",
    "two codings": HOST + b"Transfer-Encoding: gzip, chunked\r\n\r\n0\r\n\r\n",
    "coding twice": HOST + b"Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
    "coding in a tab": HOST + b"Transfer-Encoding:\x0bchunked\r\n\r\n0\r\n\r\n",
    "folded": HOST + b"X: a\r\n b\r\n\r\n",
    "folded coding": HOST + b"Transfer-Encoding:\r\n chunked\r\n\r\n0\r\n\r\n",
    "bare LF": b"Host: h\nContent-Length: 0\n\n",
    "bare LF inside": HOST + b"X: a\nTransfer-Encoding: chunked\r\n\r\n",
    "bare CR": HOST + b"X: a\rb\r\n\r\n",
    "a zero byte": HOST + b"X: a\0b\r\n\r\n",
    "two hosts": HOST + b"Host: other\r\n\r\n",
    "no host": b"X: a\r\n\r\n",
    "a host with a path": b"Host: h/../x\r\n\r\n",
    "a nameless header": HOST + b": x\r\n\r\n",
    "bare LF in chunks": HOST + b"Transfer-Encoding: chunked\r\n\r\n3\nabc\n0\n\n",
    "a chunk that is too long": HOST + b"Transfer-Encoding: chunked\r\n\r\n3\r\nabcd\r\n0\r\n\r\n",
    "a chunk size with a prefix": HOST + b"Transfer-Encoding: chunked\r\n\r\n0x3\r\nabc\r\n0\r\n\r\n",
    "a chunk size that overflows": HOST + b"Transfer-Encoding: chunked\r\n\r\nfffffffffffffffff\r\n",
    "an unknown expectation": HOST + b"Expect: 200-ok\r\n\r\n",
}


@pytest.mark.parametrize("name", SMUGGLING)
def test_what_could_be_read_in_two_ways_is_refused(name: str) -> None:
    data = b"POST / HTTP/1.1\r\n" + SMUGGLING[name]
    with pytest.raises(BadRequest):
        read([data])
    with pytest.raises(BadRequest):
        read([data[at : at + 1] for at in range(len(data))])


@pytest.mark.parametrize(
    ("line", "status"),
    [
        (b"GET / HTTP/1.0\r\nTransfer-Encoding: chunked\r\n\r\n", 400),
        (b"FOO / HTTP/1.1\r\nHost: h\r\n\r\n", 501),
        (b"CONNECT h:443 HTTP/1.1\r\nHost: h\r\n\r\n", 405),
        (b"GET ftp://h/ HTTP/1.1\r\nHost: h\r\n\r\n", 400),
        (b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", 400),
        (b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03", 501),
    ],
)
def test_other_protocols_and_methods(line: bytes, status: int) -> None:
    with pytest.raises(BadRequest) as caught:
        read([line])
    assert caught.value.status == status


def test_a_url_as_target_is_its_path() -> None:
    (one,) = read([b"GET http://h:80/a?b HTTP/1.1\r\nHost: h\r\n\r\n"])
    assert (one.target, one.path, one.query) == (b"/a?b", "/a", "b")


@pytest.mark.parametrize("cut", [True, False])
def test_a_head_that_is_too_long(cut: bool) -> None:
    data = b"GET / HTTP/1.1\r\nHost: h\r\nX: " + b"x" * 3000 + b"\r\n\r\n"
    with pytest.raises(BadRequest) as caught:
        read([data[:2000], data[2000:2900]] if cut else [data], max_header=1000)
    assert caught.value.status == 431


def test_a_head_of_more_lines_than_anybody_needs() -> None:
    """Each is an object of its own, and takes many times the bytes that it has."""
    most = b"GET / HTTP/1.1\r\nHost: h\r\n" + b"a:\r\n" * (MOST_HEADERS - 1)
    assert len(read([most + b"\r\n"])[0].headers) == MOST_HEADERS
    with pytest.raises(BadRequest, match="headers") as caught:
        read([most + b"a:\r\n\r\n"])
    assert caught.value.status == 431


# Heads that came before.

KNOWN = b"POST /v1/x HTTP/1.1\r\nHost: h\r\nContent-Length: %d\r\nX: 1\r\n\r\n%b"


def test_a_head_that_came_before_is_the_same_object() -> None:
    heads: Heads[Head] = Heads()
    requests = read([KNOWN % (3, b"abc"), KNOWN % (5, b"defgh"), KNOWN % (0, b"")], heads)
    assert told(requests) == [("POST", "/v1/x", body, []) for body in (b"abc", b"defgh", b"")]
    assert len({id(one.head) for one in requests}) == 1
    assert [one.length for one in requests] == [3, 5, 0]


def test_what_stands_before_a_head_is_no_part_of_what_is_kept() -> None:
    """The parser skips empty lines before a request; were they kept as its head, they would be that request."""
    heads: Heads[Head] = Heads()
    (one,) = read([b"\r\n\r\nGET /a HTTP/1.1\r\nHost: h\r\n\r\n"], heads)
    assert one.path == "/a"
    assert read([b"\r\n\r\n"], heads) == []


@pytest.mark.parametrize(
    "line",
    [b"Connection: close", b"Expect: 100-continue", b"Upgrade: h2c\r\nConnection: upgrade", b"Content-Length:  0"],
)
def test_heads_with_a_meaning_of_their_own_are_read_each_time(line: bytes) -> None:
    heads: Heads[Head] = Heads()
    data = b"GET / HTTP/1.1\r\nHost: h\r\n" + line + b"\r\n\r\n"
    first, second = read([data], heads), read([data], heads)
    assert first[0].head is not second[0].head


@pytest.mark.parametrize("digits", [b"-1", b"+1", b"1 ", b" 1", b"1,1", b"0x1", b"", b"1" * 30])
def test_a_known_head_does_not_vouch_for_another_length(digits: bytes) -> None:
    heads: Heads[Head] = Heads()
    read([KNOWN % (1, b"a")], heads)
    odd = (KNOWN % (1, b"a")).replace(b"Content-Length: 1", b"Content-Length: " + digits)
    found = split(odd)
    assert found is None


@given(st.binary(max_size=40), st.binary(max_size=40), st.integers(1, 200))
def test_a_known_head_in_any_cut(first: bytes, second: bytes, at: int) -> None:
    heads: Heads[Head] = Heads()
    data = KNOWN % (len(second), second)
    requests = read([KNOWN % (len(first), first), data[:at], data[at:]], heads)
    assert [one.body.whole() for one in requests] == [first, second]
    assert all(one.body.complete for one in requests)
