"""Laws of the sandbox's Merkle tree and DER, checked by verifiers written from the RFCs' own algorithms."""

import pytest
from cryptography import x509
from hypothesis import given, settings
from hypothesis import strategies as st

from imagepipe.sandbox.sigstore import der
from imagepipe.sandbox.sigstore.merkle import MerkleTree, leaf_hash
from tests.contract.sigstore_merkle import defined_root, root_from_inclusion, roots_from_consistency

LAW = settings(deadline=None)  # a slow machine does not make a law wrong
SIZES = st.integers(min_value=1, max_value=130)


def _leaves(size: int) -> list[bytes]:
    return [leaf_hash(b"leaf %d" % index) for index in range(size)]


def _tree(size: int) -> MerkleTree:
    tree = MerkleTree()
    for leaf in _leaves(size):
        tree.append(leaf)
    return tree


@LAW
@given(SIZES)
def test_the_root_is_the_one_of_the_definition_at_every_size(size: int) -> None:
    tree = _tree(size)
    for before in range(size + 1):
        assert tree.root(before) == defined_root(_leaves(before))


def test_known_roots_of_certificate_transparency_come_out() -> None:
    # Source: google/certificate-transparency, cpp/merkletree/merkle_tree_test.cc, test vectors of eight leaves.
    inputs = ["", "00", "10", "2021", "3031", "40414243", "5051525354555657", "606162636465666768696a6b6c6d6e6f"]
    tree = MerkleTree()
    for each in inputs:
        tree.append(leaf_hash(bytes.fromhex(each)))
    assert tree.root(1).hex() == "6e340b9cffb37a989ca544e6bb780a2c78901d3fb33738768511a30617afa01d"
    assert tree.root(2).hex() == "fac54203e7cc696cf0dfcb42c92a1d9dbaf70ad9e621f4bd8d98662f00e3c125"
    assert tree.root(8).hex() == "5dc9da79a70659a9ad559cb701ded9a2ab9d823aad2f4960cfe370eff4604328"


@LAW
@given(st.data(), SIZES)
def test_an_inclusion_proof_leads_from_the_leaf_to_the_root_of_any_later_size(data: st.DataObject, size: int) -> None:
    at_size = data.draw(st.integers(1, size))
    index = data.draw(st.integers(0, at_size - 1))
    tree = _tree(size)
    path = tree.inclusion_proof(index, at_size)
    assert root_from_inclusion(_leaves(size)[index], index, at_size, path) == tree.root(at_size)


@LAW
@given(st.data(), SIZES)
def test_a_consistency_proof_leads_from_the_older_root_to_the_newer(data: st.DataObject, size: int) -> None:
    second = data.draw(st.integers(1, size))
    first = data.draw(st.integers(1, second))
    tree = _tree(size)
    path = tree.consistency_proof(first, second)
    assert roots_from_consistency(first, second, path, tree.root(first)) == (tree.root(first), tree.root(second))


@LAW
@given(SIZES)
def test_an_append_returns_the_index_and_keeps_every_earlier_root(size: int) -> None:
    tree = _tree(size)
    roots = [tree.root(each) for each in range(size + 1)]
    assert tree.append(leaf_hash(b"one more")) == size
    assert [tree.root(each) for each in range(size + 1)] == roots


def test_what_is_not_in_the_tree_has_no_proof() -> None:
    tree = _tree(5)
    with pytest.raises(IndexError):
        tree.inclusion_proof(5)
    with pytest.raises(IndexError):
        tree.inclusion_proof(0, 6)
    with pytest.raises(IndexError):
        tree.consistency_proof(4, 3)
    with pytest.raises(IndexError):
        tree.root(6)


@LAW
@given(st.lists(st.binary(max_size=300), max_size=5))
def test_der_elements_are_read_back_as_they_were_written(contents: list[bytes]) -> None:
    written = [der.encode(der.OCTET_STRING, each) for each in contents]
    assert list(der.elements(b"".join(written))) == [
        (der.OCTET_STRING, each, raw) for each, raw in zip(contents, written, strict=True)
    ]


@LAW
@given(st.integers(min_value=0, max_value=1 << 200))
def test_a_der_integer_is_minimal_and_not_negative(value: int) -> None:
    [(tag, content, _)] = der.elements(der.integer(value))
    assert tag == der.INTEGER
    assert int.from_bytes(content, "big", signed=True) == value
    assert len(content) == value.bit_length() // 8 + 1


def test_der_that_is_cut_off_is_refused() -> None:
    whole = der.encode(der.OCTET_STRING, b"x" * 200)
    for length in range(1, len(whole)):
        with pytest.raises(der.DerError):
            list(der.elements(whole[:length]))


@pytest.mark.parametrize("dotted", ["1.3.6.1.4.1.57264.1.8", "2.16.840.1.101.3.4.2.1", "1.2.840.113549.1.9.16.2.47"])
def test_an_oid_is_written_as_cryptography_writes_it(dotted: str) -> None:
    name = x509.Name([x509.NameAttribute(x509.ObjectIdentifier(dotted), "x")])
    assert der.oid(dotted) in name.public_bytes()
