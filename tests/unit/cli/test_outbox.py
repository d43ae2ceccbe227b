import json
from pathlib import Path

import pytest

from imagepipe.cli.main import run
from imagepipe.cli.outbox import still_there
from imagepipe.errors import InputError, PartialError, RefusedError, UnavailableError


def test_an_outbox_that_was_never_used_is_empty(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path))
    (tmp_path / "imagepipe.toml").write_text('registry = "vic.example"\n')
    assert run(["outbox", "--send", "--json"]) == 0
    assert json.loads(capsys.readouterr().out) == {"schema": "imagepipe.outbox/v1", "waiting": [], "sent": []}


def test_a_file_that_cannot_be_read_is_an_error_whoever_only_looks(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path))
    (tmp_path / "imagepipe.toml").write_text('registry = "vic.example"\n')
    file = tmp_path / "imagepipe" / "outbox" / "x.json"
    file.parent.mkdir(parents=True)
    file.write_text("{")
    assert run(["outbox", "--json"]) == 3
    document = json.loads(capsys.readouterr().out)
    assert document["waiting"] == []
    assert document["error"]["message"].startswith(f"{file}: no record that can be read")


def test_one_failure_is_told_as_it_is_and_several_as_what_still_waits() -> None:
    away, odd = UnavailableError("the registry is away", hint="wait"), RefusedError("changed")
    assert still_there([], [], 2, 0) is None
    assert still_there([away], [], 0, 3) is away
    partly = still_there([odd], [], 1, 1)
    assert isinstance(partly, PartialError)
    assert partly.message == "1 of 2 records still wait: changed"
    both = still_there([away], [InputError("x.json: no record")], 0, 1)
    assert isinstance(both, PartialError)
    assert (both.message, both.hint) == (
        "2 of 2 records still wait: the registry is away; x.json: no record",
        "wait",
    )
