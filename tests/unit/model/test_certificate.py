import hashlib

from imagepipe.model.certificate import fingerprint


def test_a_fingerprint_is_the_sha_256_of_the_whole_certificate() -> None:
    assert fingerprint(b"der") == f"sha256:{hashlib.sha256(b'der').hexdigest()}"
