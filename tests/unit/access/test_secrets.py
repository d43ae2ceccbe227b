import json
import os
import re
import resource
import signal
import stat
import subprocess
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from imagepipe import fanout
from imagepipe.access.forms import SecretForm
from imagepipe.access.secrets import SecretFile, SecretFolder, nowhere
from imagepipe.errors import InputError
from imagepipe.model.access import Right, Robot, RobotRequest, RobotSecret
from imagepipe.model.result import Credential

ROBOT = Robot("ci", "robot$es+ci", "es", frozenset(), None, disabled=False)
MADE = RobotSecret(ROBOT, "S3cret'with$odd\"chars")


def mode(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


@pytest.mark.parametrize(
    ("name", "form"), [("ci.env", SecretForm.ENV), ("ci.json", SecretForm.JSON), ("ci", SecretForm.SECRET)]
)
def test_a_secret_is_for_its_owner_only_and_reads_back(tmp_path: Path, name: str, form: SecretForm) -> None:
    file = SecretFile.at(tmp_path / name)
    assert file.form is form
    assert file.held() is None
    (tmp_path / name).write_text("")
    (tmp_path / name).chmod(0o644)
    file.check()
    file.deliver(MADE)
    assert mode(tmp_path / name) == 0o600
    held = file.held()
    assert held == Credential("" if form is SecretForm.SECRET else "robot$es+ci", MADE.secret)
    assert [path.name for path in tmp_path.iterdir()] == [name]


def test_a_robot_whose_maker_died_before_its_secret_was_there_is_remembered(tmp_path: Path) -> None:
    folder, request = SecretFolder(tmp_path), RobotRequest("ci.g2", "es", frozenset({Right("a", "b")}), 1)
    with folder.making(request):
        assert folder.unfinished() == (("es", "ci.g2"),)
    with pytest.raises(InputError), folder.making(request):
        raise InputError("refused")
    assert folder.unfinished() == ()
    with pytest.raises(InputError, match="cannot be written"), SecretFolder(tmp_path / "none").making(request):
        pytest.fail("it was made all the same")
    with pytest.raises(KeyboardInterrupt), folder.making(request):
        raise KeyboardInterrupt
    folder.deliver(MADE)
    assert folder.unfinished() == (("es", "ci.g2"),)
    later = replace(ROBOT, name="ci.g3", login="robot$es+ci.g3")
    folder.deliver(RobotSecret(later, MADE.secret))
    assert folder.unfinished() == ()
    assert [path.name for path in tmp_path.iterdir()] == ["es+ci.env"]


def test_a_shell_reads_an_env_file_as_it_is_meant(tmp_path: Path) -> None:
    SecretFile.at(tmp_path / "ci.env").deliver(MADE)
    script = '. ./ci.env; printf \'%s\\n\' "$HARBOR_USERNAME" "$HARBOR_PASSWORD"'
    done = subprocess.run(["sh", "-c", script], cwd=tmp_path, capture_output=True, text=True, check=True, timeout=10)
    assert done.stdout == f"robot$es+ci\n{MADE.secret}\n"


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("a.json", b"nonsense"),
        ("a.json", b"[]"),
        ("a.json", json.dumps({"username": "x"}).encode()),
        ("a.env", b"HARBOR_USERNAME='unfinished"),
        ("a.env", b"HARBOR_USERNAME=x\n"),
        ("a", b"  \n"),
        ("a", b"\xff\xfe"),
    ],
)
def test_what_somebody_else_wrote_is_no_credential(tmp_path: Path, name: str, content: bytes) -> None:
    (tmp_path / name).write_bytes(content)
    assert SecretFile.at(tmp_path / name).held() is None


def test_an_env_file_of_somebody_keeps_its_other_lines(tmp_path: Path) -> None:
    path = tmp_path / ".env"
    path.write_text(
        "# it's ours\nA=1\nexport HARBOR_PASSWORD=old\n\nB='x y'\nHARBOR_PASSWORD=again\nCI_USERNAME=me", "utf-8"
    )
    file = SecretFile.at(path)
    assert file.form is SecretForm.ENV
    file.check()
    file.deliver(RobotSecret(ROBOT, "New1"))
    assert path.read_text() == (
        "# it's ours\nA=1\nexport HARBOR_PASSWORD=New1\n\nB='x y'\nCI_USERNAME=me\nHARBOR_USERNAME='robot$es+ci'\n"
    )
    assert mode(path) == 0o600
    assert file.held() == Credential("robot$es+ci", "New1")
    other = SecretFile.at(path, "CI")
    assert other.held() is None
    other.deliver(RobotSecret(ROBOT, "Other1"))
    assert other.held() == Credential("robot$es+ci", "Other1")
    assert file.held() == Credential("robot$es+ci", "New1")
    assert (file.readable, file.pending(ROBOT), str(file)) == (True, None, str(path))


@pytest.mark.parametrize(("content", "said"), [(b"A=\xff", "no text"), (b"#" * 70_000, "larger than 65536 bytes")])
def test_an_env_file_that_is_not_understood_is_not_replaced(tmp_path: Path, content: bytes, said: str) -> None:
    path = tmp_path / "a.env"
    path.write_bytes(content)
    for write in (SecretFile.at(path).check, lambda: SecretFile.at(path).deliver(MADE)):
        with pytest.raises(InputError, match=said):
            write()
    assert path.read_bytes() == content


def test_two_who_write_into_one_env_file_lose_nothing(tmp_path: Path) -> None:
    files = [SecretFile.at(tmp_path / "all.env", f"R{number}") for number in range(8)]

    def deliver(file: SecretFile) -> None:
        for _ in range(5):
            file.deliver(MADE)

    fanout.each(files, deliver, jobs=8)
    assert [file.held() for file in files] == [Credential("robot$es+ci", MADE.secret)] * 8


def test_a_place_that_cannot_be_written_is_known_before_there_is_a_secret(tmp_path: Path) -> None:
    for path in (tmp_path / "none" / "ci.env", tmp_path):
        with pytest.raises(InputError, match="the secret cannot be written there"):
            SecretFile.at(path).check()
    with pytest.raises(InputError, match="the secret cannot be written there"):
        SecretFile.at(tmp_path / "none" / "ci.env").deliver(MADE)


def linked(path: Path) -> None:
    path.with_name("target").write_text("kept")
    path.symlink_to("target")


@pytest.mark.parametrize(
    ("make", "said"),
    [
        (linked, "it is a link to target"),
        (lambda path: path.symlink_to("/dev/null"), "it is a link to /dev/null"),
        (os.mkfifo, "it is no file, but a device or a pipe"),
        (lambda path: path.mkdir(), "it is a folder"),
    ],
)
def test_what_is_no_file_is_neither_replaced_nor_read(
    tmp_path: Path, make: Callable[[Path], object], said: str
) -> None:
    path = tmp_path / "secret"
    make(path)
    before = path.lstat()
    file = SecretFile.at(path)
    for write in (file.check, lambda: file.deliver(MADE)):
        with pytest.raises(InputError, match=f"the secret cannot be written there: {said}"):
            write()
    assert file.held() is None
    assert path.lstat().st_ino == before.st_ino
    assert path.lstat().st_mode == before.st_mode
    assert not [one for one in tmp_path.iterdir() if one.name.endswith(".new")]


def test_nothing_is_left_of_a_secret_that_was_not_written_whole(tmp_path: Path) -> None:
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    # What a full disk does: as much as there is room for is written.
    ignored = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (8, limits[1]))
    try:
        with pytest.raises(InputError, match="the secret cannot be written there: File too large"):
            SecretFile.at(tmp_path / "secret").deliver(MADE)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
        signal.signal(signal.SIGXFSZ, ignored)
    assert list(tmp_path.iterdir()) == []


def test_what_an_interrupted_run_left_does_not_stand_in_the_way(tmp_path: Path) -> None:
    file = SecretFile.at(tmp_path / "ci.env")
    file._beside(b"half").rename(file._beside(b""))
    file.deliver(MADE)
    assert [path.name for path in tmp_path.iterdir()] == ["ci.env"]


def test_a_link_in_place_of_the_new_file_is_not_followed(tmp_path: Path) -> None:
    victim = tmp_path / "victim"
    victim.write_text("kept")
    file = SecretFile.at(tmp_path / "ci")
    made = file._beside(b"")
    made.unlink()
    made.symlink_to(victim)
    file.deliver(MADE)
    assert victim.read_text() == "kept"


def test_a_folder_has_one_file_per_robot_whatever_its_generation(tmp_path: Path) -> None:
    folder = SecretFolder(tmp_path / "deep" / "secrets")
    folder.check()
    folder.deliver(MADE)
    folder.deliver(RobotSecret(replace(ROBOT, name="ci.g2", login="robot$es+ci.g2"), "Newer1"))
    folder.deliver(RobotSecret(replace(ROBOT, project=None), "Whole1"))
    assert mode(folder.path) == 0o700
    assert sorted(path.name for path in folder.path.iterdir()) == ["+ci.env", "es+ci.env"]
    assert folder.file("es", "ci").held() == Credential("robot$es+ci.g2", "Newer1")


def test_a_folder_that_cannot_be_is_known_before_there_is_a_secret(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(InputError, match="no folder for secrets"):
        SecretFolder(tmp_path / "file").check()


def test_a_secret_that_goes_nowhere_is_not_shown() -> None:
    nowhere(MADE)
    assert MADE.secret not in repr(MADE)


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("config.json", b'{"auths": {"vic.example": {"auth": "eA=="}}}'),
        ("config.json", b'{"username": "bob", "password": "Secret1", "email": "bob@example.com"}'),
        ("list.json", b'["username", "password"]'),
        ("deep.json", b"[" * 3000),
        ("half.json", b'{"username": '),
        ("id_rsa", b"-----BEGIN KEY-----\nAAAA\n"),
        ("hosts", b"127.0.0.1 localhost"),
        ("blob", b"x" * 5000),
    ],
)
def test_a_file_that_holds_something_else_is_not_lost_for_a_secret(tmp_path: Path, name: str, content: bytes) -> None:
    path = tmp_path / name
    path.write_bytes(content)
    for attempt in (SecretFile.at(path).check, lambda: SecretFile.at(path).deliver(MADE)):
        with pytest.raises(
            InputError, match="it holds something that is no robot's secret, and would be gone"
        ) as caught:
            attempt()
        assert caught.value.hint == "name another file, or empty this one"
    assert path.read_bytes() == content
    assert list(tmp_path.iterdir()) == [path]


@pytest.mark.parametrize(
    ("name", "content"),
    [("ci", "\n"), ("ci", "Old1\n"), ("ci.json", '{"username": "robot$es+ci", "password": "Old1"}')],
)
def test_a_secret_takes_the_place_of_an_older_one(tmp_path: Path, name: str, content: str) -> None:
    (tmp_path / name).write_text(content)
    SecretFile.at(tmp_path / name).check()
    SecretFile.at(tmp_path / name).deliver(MADE)
    held = SecretFile.at(tmp_path / name).held()
    assert held is not None
    assert held.password == MADE.secret


@pytest.mark.parametrize("name", ["ci.json", "ci.env"])
@pytest.mark.parametrize("other", ["robot$es+other", "robot$else+ci", "robot$ci"])
def test_the_secret_of_another_robot_is_not_lost_for_this_ones(tmp_path: Path, name: str, other: str) -> None:
    file = SecretFile.at(tmp_path / name)
    file.deliver(RobotSecret(replace(ROBOT, login=other, name=other, project=None), "Other1"))
    with pytest.raises(InputError, match=rf"it holds the secret of {re.escape(other)}, which would be gone"):
        file.deliver(MADE)
    assert file.held() == Credential(other, "Other1")


@pytest.mark.parametrize("before", ["robot$es+ci", "robot$es+ci.g7", "alice"])
def test_a_robot_takes_the_place_of_its_generations_and_of_a_user(tmp_path: Path, before: str) -> None:
    file = SecretFile.at(tmp_path / "ci.json")
    file.path.write_text(f'{{"username": "{before}", "password": "Old1"}}')
    file.deliver(MADE)
    assert file.held() == Credential(ROBOT.login, MADE.secret)
