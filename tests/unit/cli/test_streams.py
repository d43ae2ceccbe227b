"""Who reads what a command prints may be gone, full or never have been there; and Ctrl-C may come before it began."""

import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from imagepipe.cli.progress import open_drawing
from imagepipe.cli.session import Session
from imagepipe.events import Warned

PROGRAM = (sys.executable, "-m", "imagepipe")


@pytest.fixture
def environ(tmp_path: Path) -> dict[str, str]:
    return {"PATH": os.environ["PATH"], "HOME": str(tmp_path), "PYTHONPATH": str(Path(__file__).parents[3])}


Ended = tuple[int, str, str]


@pytest.fixture
def shell(tmp_path: Path, environ: dict[str, str]) -> Callable[[str], Ended]:
    """Runs a line of a shell in which `$I` is the program, and returns exit code, stdout and stderr."""

    def run(line: str) -> Ended:
        done = subprocess.run(
            ["bash", "-c", line],
            cwd=tmp_path,
            env=environ | {"I": " ".join(PROGRAM)},
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            check=False,
            timeout=60,
        )
        return done.returncode, done.stdout, done.stderr

    return run


def test_a_reader_that_is_gone_changes_nothing_of_how_a_command_ends(shell: Callable[[str], Ended]) -> None:
    assert shell("$I config show | head -c 0; exit ${PIPESTATUS[0]}") == (0, "", "")
    code, _, err = shell("$I config show -c absent.toml --json | head -c 0; exit ${PIPESTATUS[0]}")
    assert code == 4
    assert err.startswith("error: absent.toml: no such file\nhint: ")
    assert shell("$I config show -c absent.toml 2>&1 >&- | head -c 0; exit ${PIPESTATUS[0]}") == (4, "", "")


@pytest.mark.parametrize("more", ["", " --json"])
def test_an_answer_that_cannot_be_written_is_told_and_no_bug(shell: Callable[[str], Ended], more: str) -> None:
    code, _, err = shell(f"$I config show{more} >/dev/full")
    assert (code, err.splitlines()[0]) == (3, "error: write the answer to stdout: No space left on device")
    code, _, err = shell(f"$I config show -c absent.toml{more} >/dev/full")
    assert (code, err.splitlines()[0]) == (4, "error: absent.toml: no such file")
    assert shell(f"$I config show -c absent.toml{more} 2>/dev/full")[0] == 4


@pytest.mark.parametrize("closed", ["<&-", ">&-", "2>&-", "<&- >&- 2>&-"])
def test_what_was_closed_before_leads_nowhere(shell: Callable[[str], Ended], closed: str) -> None:
    code, out, err = shell(f"$I config show {closed}")
    assert (code, err) == (0, "")
    assert bool(out) == (">&-" not in closed.split())
    assert shell(f"$I --version {closed}")[0] == 0
    code, out, err = shell(f"$I promote p/r:1 --to absent --json {closed}")
    assert code == 4
    assert "Traceback" not in err
    assert not out or json.loads(out)["error"]["exit_code"] == 4


def test_letters_that_stdout_cannot_show_are_no_failure(shell: Callable[[str], Ended], tmp_path: Path) -> None:
    (tmp_path / "imagepipe.toml").write_text('[harbor]\nusername = "Zoë"\n')
    code, out, _ = shell("PYTHONIOENCODING=ascii $I config show")
    assert code == 0
    assert "harbor.username = Zo\\xeb\n" in out


def test_progress_that_nobody_reads_stops_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    reading, writing = os.pipe()
    os.close(reading)
    with os.fdopen(writing, "w") as gone:
        monkeypatch.setattr(sys, "stderr", gone)
        drawing = open_drawing("plain", quiet=False, verbose=True)
        for _ in range(3):
            drawing.draw(Warned("vch-a", "slow"))
        Session().say("done")
        Session().warn("weak")


# Waits inside an import that every command needs, until Ctrl-C comes.
_SLOW = """
import sys, time, types
class Slow:
    def find_spec(self, name, path=None, target=None):
        if name == "typer" and not sys.modules.get("told"):
            sys.modules["told"] = types.ModuleType("told")
            print("importing", file=sys.stderr, flush=True)
            time.sleep(30)
sys.meta_path.insert(0, Slow())
sys.argv = ["imagepipe", "digest", "vic.example/p/r:1", "--json"]
import imagepipe.__main__ as door
door.main()
"""


def test_ctrl_c_before_a_command_has_begun_is_told_like_any(tmp_path: Path, environ: dict[str, str]) -> None:
    with subprocess.Popen(
        [sys.executable, "-c", _SLOW],
        cwd=tmp_path,
        env=environ,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    ) as child:
        assert child.stderr is not None
        assert child.stderr.readline() == "importing\n"
        child.send_signal(signal.SIGINT)
        out, err = child.communicate(timeout=30)
    assert child.returncode == 130
    assert json.loads(out)["error"]["kind"] == "interrupted"
    assert err == "error: interrupted\nhint: run the same command again; nothing was begun\n"
