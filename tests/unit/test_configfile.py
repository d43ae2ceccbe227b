import tomllib
from pathlib import Path

import pytest

from imagepipe import configfile
from imagepipe.configfile import put_target, remove_target, with_target, without_target
from imagepipe.errors import RefusedError, SettingsError

FULL = """\
# ours
registry = "vic.example"   # as on the whitelist

[targets.a]  # the old one
kind = "vch"
host = "tcp://a:2376"
policy = "prod"  # keep

[policies.prod]
signed_by = [{ identity = "x", issuer = "y" }]

# the end
"""
NEW = {"kind": "docker", "host": "tcp://b:2376", "cert_path": None, "pin": "sha256:00"}
SHAPES = (
    "",
    'registry = "r"',
    'registry = "r"\n',
    "[targets]\n",
    '[targets.a]\nkind = "vch"\n\n[build]\njobs = 2\n\n[targets.c]\nkind = "vch"\n',
    'targets = { a = { kind = "vch" } }\nregistry = "r"\n',
    '[targets]\na = { kind = "vch" }\n\n[policies.p]\nx = 1\n',
    "[policies.p]\nx = [\n  1,\n]\n\n[[policies.p.y]]\nz = 1\n",
    "[targets.'odd name']\r\nkind = \"vch\"\r\n",
    FULL,
)


@pytest.mark.parametrize("text", SHAPES)
@pytest.mark.parametrize("name", ["new", "a", "odd name", "with.dot"])
def test_only_the_target_differs_whatever_the_file_looks_like(text: str, name: str) -> None:
    before = tomllib.loads(text)
    after = tomllib.loads(with_target(text, name, NEW))
    target = after["targets"].pop(name)
    expected = before.get("targets", {}).pop(name, {}) | NEW
    assert target == {key: value for key, value in expected.items() if value is not None}
    assert {"targets": {}, **before} == {"targets": {}, **after}


@pytest.mark.parametrize("text", SHAPES)
@pytest.mark.parametrize("name", ["new", "with.dot"])
def test_a_target_that_is_taken_out_again_leaves_the_same_settings(text: str, name: str) -> None:
    again = tomllib.loads(without_target(with_target(text, name, NEW), name))
    assert {"targets": {}, **again} == {"targets": {}, **tomllib.loads(text)}


def test_comments_order_and_the_other_lines_stay() -> None:
    added = with_target(FULL, "b", NEW)
    assert [line for line in FULL.splitlines() if line not in added.splitlines()] == []
    replaced = with_target(FULL, "a", {"host": "tcp://new:2376"})
    assert replaced == FULL.replace('"tcp://a:2376"', '"tcp://new:2376"')


def test_a_new_table_stands_on_its_own() -> None:
    text = with_target('registry = "r"\n[targets.a]\nkind = "vch"\n[policies.p]\nx = 1\n', "b", NEW)
    assert '\n\n[targets.b]\nkind = "docker"\n' in text
    assert 'pin = "sha256:00"\n\n[policies.p]\n' in text
    assert without_target(FULL, "a").count("\n\n\n") == 0


def test_what_is_not_in_the_file_cannot_be_taken_out_of_it() -> None:
    with pytest.raises(RefusedError, match="not in this file"):
        without_target(FULL, "z")


def test_what_is_no_toml_is_not_touched(tmp_path: Path) -> None:
    file = tmp_path / "imagepipe.toml"
    for content in (b"a = ", b"\xff"):
        file.write_bytes(content)
        with pytest.raises(SettingsError):
            put_target(file, "a", NEW)
        assert file.read_bytes() == content
        assert [path.name for path in tmp_path.iterdir()] == ["imagepipe.toml"]


def test_a_byte_order_mark_is_in_nobodys_way(tmp_path: Path) -> None:
    path = tmp_path / "imagepipe.toml"
    path.write_text('\ufeffregistry = "vic.example"\n', encoding="utf-8")
    put_target(path, "a", {"kind": "vch"})
    assert path.read_text() == 'registry = "vic.example"\n\n[targets.a]\nkind = "vch"\n'


def test_an_edit_that_would_change_more_than_the_target_is_refused() -> None:
    # A table behind dotted keys would take the lines below it along.
    with pytest.raises(RefusedError, match="without touching other lines"):
        with_target('targets.a.kind = "vch"\nregistry = "r"\n', "b", NEW)


def test_the_file_is_replaced_in_one_step_with_its_mode_and_through_a_link(tmp_path: Path) -> None:
    real, link = tmp_path / "real.toml", tmp_path / "imagepipe.toml"
    real.write_text(FULL)
    real.chmod(0o640)
    link.symlink_to(real)
    put_target(link, "b", NEW)
    assert link.is_symlink()
    assert real.stat().st_mode & 0o777 == 0o640
    assert "b" in tomllib.loads(real.read_text())["targets"]
    remove_target(link, "b")
    assert tomllib.loads(real.read_text()) == tomllib.loads(FULL)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["imagepipe.toml", "real.toml"]


def test_a_file_that_is_not_there_is_made(tmp_path: Path) -> None:
    put_target(tmp_path / "imagepipe.toml", "b", NEW)
    assert (tmp_path / "imagepipe.toml").read_text().startswith("[targets.b]\n")


def test_a_change_by_somebody_else_meanwhile_is_not_lost(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = tmp_path / "imagepipe.toml"
    file.write_text(FULL)

    def slowly(text: str, *rest: object) -> str:
        file.write_text("# theirs")
        return text

    monkeypatch.setattr(configfile, "with_target", slowly)
    with pytest.raises(RefusedError, match="somebody else"):
        put_target(file, "b", NEW)
    assert file.read_text() == "# theirs"


def test_a_folder_that_takes_no_file_is_told(tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match="cannot be written"):
        put_target(tmp_path / "gone" / "imagepipe.toml", "b", NEW)
