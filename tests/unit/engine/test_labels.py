import pytest

from imagepipe.engine.labels import DOCKERFILE_NAME, ignoring, labelled


@pytest.mark.parametrize(
    ("dockerfile", "labels", "target"),
    [
        ("FROM a\n", {}, None),
        ("FROM a AS one\nFROM b\n", {"k": "v"}, "one"),
        ("# escape=`\nFROM a\n", {"k": "v"}, None),
        ("FROM a\nRUN x \\", {"k": "v"}, None),
        ("FROM a\n", {"k": "two\nlines"}, None),
    ],
)
def test_where_one_step_would_not_do_the_same_the_engine_makes_them(
    dockerfile: str, labels: dict[str, str], target: str | None
) -> None:
    assert labelled(dockerfile, labels, target=target) is None


def test_all_labels_are_one_step_in_one_order() -> None:
    made = labelled("FROM a", {"b": "2", "a": "1 \\ $x"}, target=None)
    assert made == 'FROM a\nLABEL "a"="1 \\\\ \\$x" "b"="2"\n'


def test_our_own_files_are_left_out_of_the_image() -> None:
    assert ignoring(None).splitlines() == [DOCKERFILE_NAME, ".dockerignore"]
    assert ignoring("*.log").splitlines() == ["*.log", DOCKERFILE_NAME]
