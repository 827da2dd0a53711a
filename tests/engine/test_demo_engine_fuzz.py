"""The engine's parsers against damaged input (with sanitizers) and against Python's own JSON."""

from __future__ import annotations

import ctypes
import json
import os
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

SOURCES = Path(__file__).parents[2] / "native" / "engine"
HERE = Path(__file__).parent


def compile_c(output: Path, *arguments: str, sources: list[Path]) -> Path:
    compiler = os.environ.get("CC") or shutil.which("cc")
    assert compiler, "no C compiler: make test needs one"
    command = [compiler, "-std=gnu11", "-g", "-O1", f"-I{SOURCES}", f"-I{SOURCES.parent / 'include'}", *arguments]
    subprocess.run([*command, *map(str, sources), "-o", str(output)], check=True, timeout=120)
    return output


@pytest.fixture(scope="session")
def fuzzer(tmp_path_factory: pytest.TempPathFactory) -> Path:
    names = ["buffer", "json_parse", "json_string", "json_use", "http_fields", "http_read", "http_write", "patience"]
    return compile_c(
        tmp_path_factory.mktemp("fuzz") / "fuzz_parsers",
        "-fsanitize=address,undefined",
        "-fno-sanitize-recover=all",
        sources=[HERE / "fuzz_parsers.c", *(SOURCES / f"{name}.c" for name in [*names, "vocabulary"])],
    )


@pytest.mark.parametrize("seed", [1, 2])
def test_damaged_input_breaks_nothing(fuzzer: Path, seed: int) -> None:
    result = subprocess.run(
        [fuzzer, str(seed), "40000"],
        capture_output=True,
        text=True,
        timeout=110,
        check=False,
        env={**os.environ, "ASAN_OPTIONS": "detect_leaks=0"},  # the leak check needs ptrace, which a test may lack
    )
    assert result.returncode == 0, result.stderr[-4000:]


@pytest.fixture(scope="session")
def accepts(tmp_path_factory: pytest.TempPathFactory) -> Callable[[bytes], bool]:
    """Does the engine's parser take these bytes for one JSON value?"""
    names = ["buffer", "json_parse", "json_string", "json_use"]
    path = tmp_path_factory.mktemp("json") / "json.so"
    library = ctypes.CDLL(str(compile_c(path, "-shared", "-fPIC", sources=[SOURCES / f"{name}.c" for name in names])))
    library.json_parse.restype = ctypes.c_void_p
    library.json_free.argtypes = [ctypes.c_void_p]
    problem = ctypes.create_string_buffer(128)

    def accepts(text: bytes) -> bool:
        document = library.json_parse(text, ctypes.c_size_t(len(text)), problem, ctypes.c_size_t(128))
        library.json_free(document)
        return document is not None

    return accepts


def python_accepts(text: bytes) -> bool:
    def refuse(constant: str) -> None:
        raise ValueError(constant)  # NaN and Infinity are Python's, not JSON's

    try:
        json.loads(text.decode("utf-8"), parse_constant=refuse).__repr__().encode("utf-8")
    except (ValueError, RecursionError):
        return False
    return True


VALUES = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**53), 2**53)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
    max_leaves=20,
)


@given(value=VALUES, ascii_only=st.booleans())
def test_whatever_python_writes_is_taken(accepts, value, ascii_only) -> None:
    assert accepts(json.dumps(value, ensure_ascii=ascii_only).encode())


@given(value=VALUES, data=st.data())
def test_what_is_almost_json_is_judged_as_python_judges_it(accepts, value, data) -> None:
    text = bytearray(json.dumps(value, ensure_ascii=False).encode())
    at = data.draw(st.integers(0, len(text)))
    if data.draw(st.booleans()):
        text[at : at + 1] = b""
    else:
        text[at:at] = data.draw(st.sampled_from(list(b'"\\{}[],:0123456789.eE+-tfn u\xc3\xff\x00'))).to_bytes(
            1, "little"
        )
    assert accepts(bytes(text)) == python_accepts(bytes(text))


@pytest.mark.parametrize(
    "text", [b"\xed\xa0\x80", b"\xc0\xaf", b"\xf4\x90\x80\x80", b"\xf8\x88\x80\x80\x80", b"\x80", b"\xe2\x82"]
)
def test_what_is_no_utf_8_is_refused(accepts, text) -> None:
    assert not accepts(b'"' + text + b'"')


def test_limits(accepts) -> None:
    assert accepts(b"[" * 63 + b"]" * 63)
    assert not accepts(b"[" * 65 + b"]" * 65)
    assert accepts(b"[" + b"0," * 200_000 + b"0]")
    assert not accepts(b"[" + b"0," * 300_000 + b"0]")
    assert not accepts(b"1" * 100)
    assert not accepts(rb'"\ud800"')
    assert not accepts(rb'"\udc00\ud800"')
    assert accepts(rb'"\ud83d\ude00\u0000"')
