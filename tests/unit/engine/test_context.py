"""What is sent to a builder, and what is not."""

import io
import os
import socket
import tarfile
import tracemalloc
from pathlib import Path

import pytest

from imagepipe.engine.context import check_context, pack, read_ignore_text
from imagepipe.engine.ignore import Ignore
from imagepipe.errors import InputError


@pytest.fixture
def context(tmp_path: Path) -> Path:
    (tmp_path / "Dockerfile").write_text("FROM scratch\n")
    return tmp_path


def names(context: Path, dockerfile: str = "Dockerfile") -> list[str]:
    with tarfile.open(fileobj=io.BytesIO(b"".join(pack(context, dockerfile)))) as archive:
        return archive.getnames()


# The cases of moby v20.10.24 pkg/fileutils/fileutils_test.go, and of docs.docker.com/build/building/context/#syntax
@pytest.mark.parametrize(
    ("pattern", "path", "out"),
    [
        ("**", "file", True),
        ("**", "dir/file", True),
        ("**/", "file", True),
        ("**/**", "dir/file", True),
        ("dir/**", "dir/file", True),
        ("dir/**", "dir/dir2/file", True),
        ("**/dir", "a/b/dir/file", True),
        ("**/dir2/*", "dir/dir2/file", True),
        ("**/dir2/*", "dir/dir2/dir2/file", True),
        ("**file", "dir/file", True),
        ("**/file", "file", True),
        ("**/*.txt", "dir/file.txt", True),
        ("**/*.txt", "dir/file.txtx", False),
        ("a**/*.txt", "a/file.txt", True),
        ("a[b-d]e", "ace", True),
        ("a[b-d]e", "aae", False),
        ("a[^b-d]e", "aze", True),
        ("a\\*b", "a*b", True),
        ("a\\*b", "axb", False),
        ("abc.def", "abcdef", False),
        ("abc.def", "abcZdef", False),
        ("abc?def", "abcZdef", True),
        ("a*b", "a/b", False),
        ("*/temp*", "somedir/temporary.txt", True),
        ("*/*/temp*", "somedir/subdir/temporary.txt", True),
        ("temp?", "tempa", True),
        ("/foo", "foo", True),
        ("foo/", "foo/bar", True),
        ("./foo/../bar", "bar", True),
        ("  foo  ", "foo", True),
        ("# foo", "# foo", False),
        (".", "foo", False),
        ("(foo)+", "(foo)+", True),
        ("*.md\n!README.md", "README.md", False),
        ("*.md\n!README*.md\nREADME-secret.md", "README-secret.md", True),
        ("*.md\nREADME-secret.md\n!README*.md", "README-secret.md", False),
        ("docs\n!docs/README.md", "docs/README.md", False),
        ("docs\n!docs/README.md", "docs/other", True),
        ("**/secrets\n!README", "a/b/c/secrets/key", True),
    ],
)
def test_patterns_mean_what_they_mean_to_docker(pattern: str, path: str, out: bool) -> None:
    assert Ignore.parse(pattern).leaves_out(path) is out


def test_a_pattern_that_cannot_be_read_is_named_with_its_line() -> None:
    with pytest.raises(InputError, match=r"\.dockerignore:2"):
        Ignore.parse("ok\na[z-a]\n")


def test_everything_is_sent_sorted_and_owned_by_root(context: Path) -> None:
    (context / "b").mkdir()
    (context / "b" / "x").write_text("1")
    (context / "a").write_text("2")
    (context / "link").symlink_to("/nowhere")
    os.mkfifo(context / "pipe")

    with tarfile.open(fileobj=io.BytesIO(b"".join(pack(context, "Dockerfile")))) as archive:
        members = archive.getmembers()
        content = archive.extractfile("a")
        assert content is not None
        assert content.read() == b"2"

    assert [member.name for member in members] == ["Dockerfile", "a", "b", "b/x", "link", "pipe"]
    assert {(member.uid, member.gid, member.uname) for member in members} == {(0, 0, "")}
    assert members[4].linkname == "/nowhere"


def read_all(context: Path, dockerfile: str) -> str | None:
    check_context(context, dockerfile)
    return read_ignore_text(context)


@pytest.mark.parametrize("name", [".dockerignore", "Dockerfile"])
def test_a_file_that_is_read_here_is_no_way_out_of_the_context(
    context: Path, tmp_path_factory: pytest.TempPathFactory, name: str
) -> None:
    """What it says is sent to the builder, and a pull request may make it a link to a password of this machine."""
    secret = tmp_path_factory.mktemp("home") / "password"
    secret.write_text("hunter2")
    (context / name).unlink(missing_ok=True)
    (context / name).symlink_to(secret)
    with pytest.raises(InputError, match="outside the build context"):
        read_all(context, "Dockerfile")
    (context / name).unlink()
    (context / "own").write_text("FROM scratch\n")
    (context / name).symlink_to("own")
    assert read_all(context, "own") in ("FROM scratch\n", None)


def test_a_socket_is_left_out(context: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(context)
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind("s")

        assert names(context) == ["Dockerfile"]


def test_what_the_engine_itself_needs_is_sent_though_the_patterns_say_no(context: Path) -> None:
    (context / ".dockerignore").write_text("**\n")
    (context / "docker").mkdir()
    (context / "docker" / "My.Dockerfile").write_text("FROM scratch\n")
    (context / "docker" / "other").write_text("")

    assert names(context, "docker/My.Dockerfile") == [".dockerignore", "docker/My.Dockerfile"]


def test_folders_that_are_left_out_are_not_even_looked_into(context: Path) -> None:
    (context / ".dockerignore").write_text("node_modules\n!keep/this\n")
    (context / "node_modules").mkdir(mode=0o000)
    (context / "keep").mkdir()
    (context / "keep" / "this").write_text("")
    read = Ignore.parse("node_modules\n!keep/this\n")

    assert not read.may_keep_below("node_modules")
    assert read.may_keep_below("keep")
    assert names(context) == [".dockerignore", "Dockerfile", "keep", "keep/this"]


def test_a_context_of_any_size_takes_little_memory(context: Path) -> None:
    with (context / "huge").open("wb") as file:
        file.truncate(256 << 20)

    tracemalloc.start()
    total = sum(len(piece) for piece in pack(context, "Dockerfile"))
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()

    assert total > 256 << 20
    assert peak < 2 << 20


def test_a_file_that_shrinks_while_it_is_sent_is_told(context: Path) -> None:
    (context / "log").write_bytes(b"x" * 500_000)
    pieces = pack(context, "Dockerfile")
    for _ in range(4):
        next(pieces)
    (context / "log").write_bytes(b"")

    with pytest.raises(InputError, match="became shorter"):
        list(pieces)


@pytest.mark.parametrize("dockerfile", ["../Dockerfile", "/etc/Dockerfile", "a/../../Dockerfile"])
def test_a_dockerfile_outside_the_context_is_refused(context: Path, dockerfile: str) -> None:
    with pytest.raises(InputError, match="outside the build context"):
        check_context(context, dockerfile)
