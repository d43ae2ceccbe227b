import pytest
from hypothesis import given
from hypothesis import strategies as st

from imagepipe.errors import DigestMismatchError, InputError
from imagepipe.model.digest import Digest
from tests.unit.model.strategies import digests


@given(digests)
def test_a_digest_survives_being_written_and_read(digest: Digest) -> None:
    assert Digest.parse(str(digest)) == digest


@given(st.binary(max_size=64), st.binary(max_size=64))
def test_content_passes_its_own_digest_and_no_other(content: bytes, other: bytes) -> None:
    digest = Digest.of(content)
    assert digest.check(content, "blob") == content
    if other != content:
        with pytest.raises(DigestMismatchError, match="blob: the bytes received have digest"):
            digest.check(other, "blob")


@pytest.mark.parametrize(
    "text",
    ["", "sha256:", "sha256:abc", "sha512:" + "a" * 64, "sha256:" + "A" * 64, "a" * 64, f"sha256:{'a' * 64}\n"],
)
def test_what_is_no_sha256_digest_is_refused(text: str) -> None:
    with pytest.raises(InputError, match="not a sha256 digest"):
        Digest.parse(text)


def test_a_digest_cannot_be_built_wrong() -> None:
    with pytest.raises(InputError, match="not a sha256 digest"):
        Digest("abc")


def test_a_long_wrong_text_is_cut_in_the_message() -> None:
    with pytest.raises(InputError) as caught:
        Digest.parse("x" * 10_000)
    assert len(caught.value.message) < 200


def test_the_short_form_is_twelve_digits() -> None:
    assert Digest.of(b"").short == "e3b0c44298fc"
    assert repr(Digest.of(b"")).startswith("Digest('sha256:e3b0c442")
