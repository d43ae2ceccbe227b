"""Where the source stands, in work trees made for the purpose."""

import re
import shutil
import subprocess
from pathlib import Path

import pytest

from imagepipe.errors import DeadlineError, NotFoundError
from imagepipe.events import Event, Warned
from imagepipe.source.git import Git, without_credentials


class WorkTree:
    """A work tree that a test commits to."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.git("init", "--quiet", "--initial-branch=main")

    def git(self, *words: str) -> str:
        identity = ("-c", "user.name=T", "-c", "user.email=t@example.org", "-c", "commit.gpgsign=false")
        command = ["git", "-C", str(self.root), *identity, *words]
        return subprocess.run(command, check=True, capture_output=True, text=True, timeout=30).stdout.strip()

    def write(self, name: str, text: str = "x") -> Path:
        path = self.root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
        return path

    def commit(self, *names: str) -> str:
        for name in names:
            self.write(name, f"{name} {self.root}")
        self.git("add", "--all")
        self.git("commit", "--quiet", "--allow-empty", "--message=m", "--date=2026-01-02T03:04:05+02:00")
        return self.git("rev-parse", "HEAD")


@pytest.fixture
def tree(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> WorkTree:
    monkeypatch.setenv("GIT_COMMITTER_DATE", "2026-01-02T03:04:05+02:00")
    (tmp_path / "tree").mkdir()
    return WorkTree((tmp_path / "tree").resolve())


def test_a_clean_checkout_says_where_it_stands(tree: WorkTree) -> None:
    commit = tree.commit("src/a.py")
    tree.git("remote", "add", "origin", "https://ci:token@git.example/es/hello.git")
    tree.git("tag", "v1.4.0")

    found = Git().revision(tree.root / "src")

    assert found is not None
    assert (found.commit, found.branch, found.version, found.dirty) == (commit, "main", "1.4.0", False)
    assert found.committed_at == "2026-01-02T01:04:05Z"
    assert found.url == "https://git.example/es/hello.git"
    assert found.root == tree.root
    assert Git().commit(tree.root / "src") == Git().commit(tree.root / "src" / "a.py") == commit


def test_commits_after_a_tag_and_no_tag_at_all_show_in_the_version(tree: WorkTree) -> None:
    first = tree.commit("a")
    before = Git().revision(tree.root)
    tree.git("tag", "v1.4.0")
    second = tree.commit("b")
    after = Git().revision(tree.root)

    assert before is not None
    assert after is not None
    assert first.startswith(before.version)
    assert after.version == f"1.4.0-1-g{second[: len(after.version) - len('1.4.0-1-g')]}"


@pytest.mark.parametrize("change", ["edit", "stage", "add"])
def test_any_difference_makes_it_dirty(tree: WorkTree, change: str) -> None:
    tree.commit("a")
    tree.write("new" if change == "add" else "a", "changed")
    if change == "stage":
        tree.git("add", "a")

    found = Git().revision(tree.root)

    assert found is not None
    assert found.dirty


def test_a_tree_of_which_git_cannot_tell_is_not_called_clean(tree: WorkTree) -> None:
    tree.commit("a")
    (tree.root / ".git" / "index").write_bytes(b"rubbish")

    found = Git().revision(tree.root)

    assert found is not None
    assert found.dirty


def test_a_remote_that_is_no_url_is_left_out(tree: WorkTree) -> None:
    tree.commit("a")
    tree.git("remote", "add", "origin", "https://user:pw@[::1/a.git")

    found = Git().revision(tree.root)

    assert found is not None
    assert found.url is None


def test_an_ignored_file_does_not_make_it_dirty(tree: WorkTree) -> None:
    tree.write(".gitignore", "*.log\n")
    tree.commit()
    tree.write("x.log")

    found = Git().revision(tree.root)

    assert found is not None
    assert not found.dirty


def test_a_detached_head_has_no_branch_and_a_tree_without_origin_no_url(tree: WorkTree) -> None:
    tree.commit("a")
    tree.git("checkout", "--quiet", "--detach")

    found = Git().revision(tree.root)

    assert found is not None
    assert (found.branch, found.url) == (None, None)


def test_there_is_no_revision_outside_a_work_tree_before_the_first_commit_or_without_git(
    tree: WorkTree, tmp_path: Path
) -> None:
    assert Git().revision(tmp_path) is None
    assert Git().revision(tree.root) is None
    tree.commit("a")
    assert Git(program="no-such-git").revision(tree.root) is None
    assert Git().revision(tree.root / "a") is not None  # a file's folder counts


def test_what_changed_since_a_revision_includes_what_is_not_committed(tree: WorkTree) -> None:
    tree.write(".gitignore", "*.log\n")
    tree.commit("a", "b", "moved", "sub/kept")
    tree.git("tag", "then")
    tree.commit("committed")
    tree.git("mv", "moved", "sub/moved")
    tree.write("a", "edited")
    tree.write("sub/süß x", "untracked")
    tree.write("ignored.log")
    (tree.root / "b").unlink()

    changed = Git().changed_since(tree.root / "sub", "then")

    assert changed == ("a", "b", "committed", "moved", "sub/moved", "sub/süß x")


def test_nothing_changed_is_nothing(tree: WorkTree) -> None:
    tree.commit("a")

    assert Git().changed_since(tree.root, "HEAD") == ()


@pytest.mark.parametrize("revision", ["nowhere", "--output=/tmp/x", "HEAD~5", ""])
def test_a_revision_that_is_unknown_is_not_found(tree: WorkTree, revision: str) -> None:
    tree.commit("a")

    with pytest.raises(NotFoundError, match="unknown"):
        Git().changed_since(tree.root, revision)


def test_outside_a_work_tree_nothing_can_have_changed(tmp_path: Path) -> None:
    with pytest.raises(NotFoundError, match="not in a git work tree"):
        Git().changed_since(tmp_path, "HEAD")


def test_git_hooks_variables_do_not_lead_elsewhere(
    tree: WorkTree, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    commit = tree.commit("a")
    monkeypatch.setenv("GIT_DIR", str(tmp_path / "elsewhere"))
    monkeypatch.setenv("GIT_WORK_TREE", str(tmp_path))

    found = Git().revision(tree.root)

    assert found is not None
    assert found.commit == commit


def test_a_checkout_cannot_name_a_program_for_git_to_run(tree: WorkTree, tmp_path: Path) -> None:
    tree.commit("a")
    trap = tmp_path / "trap"
    trap.write_text(f"#!/bin/sh\ntouch {tmp_path}/sprung\n")
    trap.chmod(0o755)
    tree.git("config", "core.fsmonitor", str(trap))

    Git().revision(tree.root)
    Git().changed_since(tree.root, "HEAD")

    assert not (tmp_path / "sprung").exists()


def test_a_git_that_hangs_has_a_deadline(tree: WorkTree, tmp_path: Path) -> None:
    slow = tmp_path / "slow"
    slow.write_text("#!/bin/sh\nexec sleep 30\n")
    slow.chmod(0o755)

    with pytest.raises(DeadlineError, match="no answer within"):
        Git(program=str(slow), timeout_s=0.2).revision(tree.root)


@pytest.mark.parametrize(
    ("url", "clean"),
    [
        ("https://user:pw@git.example/a.git", "https://git.example/a.git"),
        ("https://token@git.example:8443/a.git?private_token=x", "https://git.example:8443/a.git"),
        ("ssh://git:pw@git.example/a.git", "ssh://git@git.example/a.git"),
        ("git@git.example:a/b.git", "git@git.example:a/b.git"),
        ("/srv/git/a.git", "/srv/git/a.git"),
        ("https://git.example/a.git", "https://git.example/a.git"),
        ("https://user:pw@[::1/a.git", ""),
    ],
)
def test_credentials_never_leave_a_remotes_url(url: str, clean: str) -> None:
    assert without_credentials(url) == clean


def test_a_detached_commit_is_on_the_branch_that_the_ci_job_is_for(tree: WorkTree) -> None:
    commit = tree.commit("a")
    tree.git("checkout", "--quiet", "--detach")
    found = Git(branch_of={commit: "release"}.get).revision(tree.root)
    assert found is not None
    assert found.branch == "release"


def test_a_shallow_clone_without_tags_says_that_it_names_versions_otherwise(tree: WorkTree, tmp_path: Path) -> None:
    tree.commit("a")
    tree.git("tag", "v1.4.0")
    tree.commit("b")
    told = list[Event]()
    for name, more in (("shallow", ("--depth=1",)), ("full", ())):
        subprocess.run(
            ["git", "clone", "-q", *more, f"file://{tree.root}", str(tmp_path / name)], check=True, timeout=30
        )
    git = Git(events=told.append)
    for _ in range(2):  # a run asks once for each of its pipelines
        git.revision(tmp_path / "shallow")
        git.revision(tmp_path / "full")
    (said,) = told
    assert isinstance(said, Warned)
    assert said.subject == str(tmp_path / "shallow")
    assert "without tags" in said.message
    assert "fetch" in said.message


@pytest.mark.parametrize("why", ["there is no git to ask", "not a git repository: .*gone"])
def test_a_work_tree_of_which_nothing_is_known_is_not_passed_over_in_silence(
    tree: WorkTree, tmp_path: Path, why: str
) -> None:
    (tree.root / "src").mkdir()
    told = list[Event]()
    if "gone" in why:  # a work tree beside its repository, of which a container was given the one alone
        shutil.rmtree(tree.root / ".git")
        tree.write(".git", f"gitdir: {tmp_path}/gone/.git/worktrees/tree")
    git = Git(program="git" if "gone" in why else "there-is-no-such-program", events=told.append)
    assert git.revision(tmp_path) is None
    assert told == []
    assert git.revision(tree.root / "src") is git.revision(tree.root) is None
    (said,) = told
    assert isinstance(said, Warned)
    assert said.subject == str(tree.root)
    assert re.search(f"name its source: .*{why}", said.message)
