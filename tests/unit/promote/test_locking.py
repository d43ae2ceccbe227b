import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from imagepipe.errors import UnavailableError
from imagepipe.model.host import Target, TargetKind
from imagepipe.promote.locking import TargetLocks, _user
from imagepipe.promote.plan import make_plan
from imagepipe.promote.record import apply
from tests.unit.promote.test_gates import TAGGED
from tests.unit.promote.world import Small

A = Target("vch-a", TargetKind.VCH, "tcp://vch-a:2376")
ALIAS = Target("alias", TargetKind.VCH, A.host)
B = Target("vch-b", TargetKind.VCH, "tcp://vch-b:2376")
HOLDER = """
import sys
from pathlib import Path
from imagepipe.model.host import Target, TargetKind
from imagepipe.promote.locking import TargetLocks
with TargetLocks(Path(sys.argv[1]), wait_s=1).holding([Target("x", TargetKind.VCH, sys.argv[2])]):
    print("held", flush=True)
    sys.stdin.read()
"""


class Waiting:
    """A pause that takes no time and does something once."""

    def __init__(self) -> None:
        self.paused_s: list[float] = []

    def __call__(self, seconds: float) -> None:
        self.paused_s.append(seconds)


def locks(folder: Path, wait_s: float = 0.5) -> tuple[TargetLocks, Waiting]:
    pause = Waiting()
    return TargetLocks(folder / "locks", wait_s=wait_s, pause=pause), pause


def test_a_second_promotion_to_a_host_waits_and_then_names_the_holder(tmp_path: Path) -> None:
    (first, _), (second, pause) = locks(tmp_path), locks(tmp_path)
    with first.holding([A]), pytest.raises(UnavailableError) as refused, second.holding([B, ALIAS]):
        pass
    assert f"process {os.getpid()}, since 20" in refused.value.message
    assert re.match(r"lock target alias: another promotion holds it for \d s: .*; waited 0.5 s", refused.value.message)
    assert refused.value.exit_code == 8
    assert pause.paused_s == [0.25, 0.25]
    with second.holding([A]):
        pass


def test_other_hosts_and_other_names_of_one_host_do_not_wait(tmp_path: Path) -> None:
    (first, _), (second, pause) = locks(tmp_path), locks(tmp_path)
    with first.holding([A, ALIAS]), second.holding([B]):
        pass
    assert pause.paused_s == []


def test_a_lock_ends_with_the_process_that_held_it(tmp_path: Path) -> None:
    mine, _ = locks(tmp_path)
    argv = [sys.executable, "-c", HOLDER, str(tmp_path / "locks"), A.host]
    with subprocess.Popen(argv, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as holder:
        assert holder.stdout is not None
        assert holder.stdout.readline() == b"held\n"
        with pytest.raises(UnavailableError, match=f"process {holder.pid}"), mine.holding([A]):
            pass
        holder.kill()
        holder.wait(timeout=10)
        with mine.holding([A]):
            pass


def test_who_holds_a_lock_is_told_while_it_is_held_only(tmp_path: Path) -> None:
    mine, _ = locks(tmp_path)
    with mine.holding([A]):
        (file,) = (tmp_path / "locks").iterdir()
        assert json.loads(file.read_text())["pid"] == os.getpid()
        assert file.stat().st_mode & 0o077 == 0
    assert file.read_text() == ""


@pytest.mark.parametrize("text", ["", "[]", "{}", '{"since": "today"}', '{"since": "2026-01-02T03:04:05"}'])
def test_a_holder_that_is_not_told_is_no_crash(tmp_path: Path, text: str) -> None:
    (first, _), (second, _) = locks(tmp_path), locks(tmp_path)
    with first.holding([A]):
        (file,) = (tmp_path / "locks").iterdir()
        file.write_text(text)
        with pytest.raises(UnavailableError, match="does not say which"), second.holding([A]):
            pass


def test_a_lock_that_cannot_be_written_is_told(tmp_path: Path) -> None:
    (first, _), (second, _) = locks(tmp_path), locks(tmp_path)
    with first.holding([A]):
        (file,) = (tmp_path / "locks").iterdir()
    file.unlink()
    file.symlink_to("/dev/full")
    with pytest.raises(UnavailableError, match=rf"^lock target {A.name}: {file}: ") as refused, second.holding([A]):
        pass
    assert "XDG_STATE_HOME" in str(refused.value.hint)


def test_a_user_without_a_name_is_told_by_number() -> None:
    assert (_user(0), _user(4242424)) == ("root", "4242424")


def test_a_folder_that_cannot_be_written_is_told(tmp_path: Path) -> None:
    (tmp_path / "locks").write_text("a file")
    with pytest.raises(UnavailableError, match="lock target vch-a") as refused, locks(tmp_path)[0].holding([A]):
        pass
    assert "XDG_STATE_HOME" in str(refused.value.hint)


@pytest.mark.parametrize(
    ("environ", "folder"),
    [
        ({"HOME": "{0}"}, ".local/state/imagepipe/locks"),
        ({"HOME": "{0}", "XDG_STATE_HOME": "relative"}, ".local/state/imagepipe/locks"),
        ({"HOME": "/nowhere", "XDG_STATE_HOME": "{0}"}, "imagepipe/locks"),
    ],
)
def test_locks_are_where_a_user_keeps_state(tmp_path: Path, environ: dict[str, str], folder: str) -> None:
    with TargetLocks.of({name: value.format(tmp_path) for name, value in environ.items()}, 1).holding([A]):
        assert len(list((tmp_path / folder).iterdir())) == 1


def test_a_locked_target_is_not_touched() -> None:
    small = Small()
    small.image()
    world = small.world()
    plan = make_plan("x", TAGGED, [small.target("vch-a")], world)
    small.locked = UnavailableError("lock target vch-a: another promotion holds it")
    with pytest.raises(UnavailableError, match="another promotion"):
        apply(plan, world)
    assert small.hosts["vch-a"].pulled == []
