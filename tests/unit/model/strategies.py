"""Values as hypothesis makes them."""

from hypothesis import strategies as st

from imagepipe.model.digest import Digest
from imagepipe.model.manifest import Platform
from imagepipe.model.reference import Pinned, Reference, Repository

digests = st.binary(max_size=8).map(Digest.of)

_parts = st.from_regex(r"[a-z0-9]{1,6}(?:(?:\.|_|__|-{1,3})[a-z0-9]{1,4}){0,2}", fullmatch=True)
_labels = st.from_regex(r"[a-z0-9](?:[a-z0-9-]{0,5}[a-z0-9])?", fullmatch=True)
_dotted = st.lists(_labels, min_size=2, max_size=3).map(".".join)
_ports = st.integers(min_value=1, max_value=65535).map(lambda port: f":{port}")
hosts = st.one_of(
    _dotted, st.just("localhost"), st.builds(str.__add__, st.one_of(_dotted, _labels, st.just("[::1]")), _ports)
)
tags = st.from_regex(r"[A-Za-z0-9_][A-Za-z0-9._-]{0,127}", fullmatch=True)
repositories = st.builds(Repository, hosts, st.lists(_parts, min_size=1, max_size=4).map("/".join))
references = st.builds(Reference, repositories, st.none() | tags, st.none() | digests)
pinned = st.builds(Pinned, repositories, digests)

_words = st.from_regex(r"[a-z0-9]{1,8}", fullmatch=True)
platforms = st.builds(Platform, _words, _words, st.none() | _words)
