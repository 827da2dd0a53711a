"""hotseat key: what it prints lets its bearer in, and the key stands nowhere else."""

from __future__ import annotations

import io
import json

import pytest

from hotseat import config
from hotseat.cli.main import run
from hotseat.gateway.keys import KeyRing

FILE = "gateway: {{port: 0}}\n{keys}workloads: {{a: {{port: 1}}}}\n"


def admitted(lines: str, key: str) -> str:
    keys = KeyRing(config.parse(FILE.format(keys=lines)).keys)
    return keys.identify({"authorization": f"Bearer {key}"}.get).caller.name


def test_a_new_key(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["key", "alice"]) == 0
    out, err = capsys.readouterr()
    key, lines = out.split("\n", 1)
    assert admitted(lines, key) == "alice"
    assert key not in lines + err
    assert run(["key"]) == 0
    assert capsys.readouterr().out.partition("\n")[0] != key


def test_as_data(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["key", "bob", "--json"]) == 0
    made = json.loads(capsys.readouterr().out)
    assert admitted(f"keys: {{bob: {{hash: '{made['hash']}'}}}}\n", made["key"]) == "bob"


@pytest.mark.parametrize("as_json", [False, True])
def test_a_key_that_exists(as_json: bool, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sys.stdin", io.StringIO("an-old-key-of-mine\n"))
    assert run(["key", "--hash", "-", *(["--json"] if as_json else [])]) == 0
    out, err = capsys.readouterr()
    assert "an-old-key" not in out + err
    lines = f"keys: {{me: {{hash: '{json.loads(out)['hash']}'}}}}\n" if as_json else out
    assert admitted(lines, "an-old-key-of-mine") == "me"


@pytest.mark.parametrize(
    ("arguments", "given"),
    [
        (["Alice"], ""),
        (["a b"], ""),
        (["--hash", "-"], "short"),
        (["--hash", "-"], "two words of a key"),
        (["--hash", "-"], ""),
    ],
)
def test_what_is_refused(
    arguments: list[str], given: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("sys.stdin", io.StringIO(given))
    assert run(["key", *arguments]) == 2
    out, err = capsys.readouterr()
    assert out == ""
    assert not given or given not in err


def test_a_key_on_the_command_line_is_refused(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["key", "--hash", "a-key-that-is-long-enough"]) == 2
    capsys.readouterr()
