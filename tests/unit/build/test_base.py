import pytest

from imagepipe.build.base import find_bases
from imagepipe.errors import InputError


@pytest.mark.parametrize(
    ("dockerfile", "args", "target", "final", "every"),
    [
        ("FROM busybox\n", {}, None, "busybox", ("busybox",)),
        ("FROM scratch\n", {}, None, None, ()),
        ("from a as one\nFROM b AS two\nCOPY --from=one /x /\n", {}, None, "b", ("a", "b")),
        ("FROM a AS one\nFROM b\n", {}, "one", "a", ("a", "b")),
        ("FROM a AS one\nFROM ONE AS two\n", {}, None, "a", ("a",)),
        ("ARG V=1\nFROM a:$V\n", {"V": "2"}, None, "a:2", ("a:2",)),
        ("ARG V\nFROM a:${V:-3}\n", {}, None, "a:3", ("a:3",)),
        ('ARG V="4"\nFROM a:${V}${V:+-slim}\n', {}, None, "a:4-slim", ("a:4-slim",)),
        ("ARG V\nFROM a${V:+-x}\n", {}, None, "a", ("a",)),
        ("# syntax=x\n\nFROM --platform=linux/amd64 \\\n  a \\\n  AS one\n", {}, None, "a", ("a",)),
        ("FROM a\nARG V=1\nRUN echo FROM b\n", {}, None, "a", ("a",)),
        ("FROM a \\", {}, None, "a", ("a",)),
        ("\ufeffFROM a\n", {}, None, "a", ("a",)),
        ("ARG R=r V=1\nFROM $R/a:$V\n", {"V": "2"}, None, "r/a:2", ("r/a:2",)),
        ("ARG R V='1' W=\"b c\"\nFROM a:${V}\n", {}, None, "a:1", ("a:1",)),
        ("FROM a\nCOPY --chown=0 --from=tools:1 /x /\nCOPY --from=0 /y /\n", {}, None, "a", ("a", "tools:1")),
        ("FROM a AS One\nFROM scratch\nCOPY --from=one /x /\ncopy --from=b /x /\n", {}, None, None, ("a", "b")),
    ],
)
def test_the_images_below_the_stages_are_found(
    dockerfile: str, args: dict[str, str], target: str | None, final: str | None, every: tuple[str, ...]
) -> None:
    found = find_bases(dockerfile, args, target)
    assert (found.final, found.every) == (final, every)


@pytest.mark.parametrize(
    ("dockerfile", "target", "words"),
    [
        ("RUN x\n", None, "no FROM"),
        ("ARG B\nFROM ${B}\n", None, "has no value"),
        ("FROM a\n", "b", "no stage named 'b'"),
    ],
)
def test_what_cannot_be_built_is_told(dockerfile: str, target: str | None, words: str) -> None:
    with pytest.raises(InputError, match=words) as refused:
        find_bases(dockerfile, {}, target)
    assert refused.value.hint
