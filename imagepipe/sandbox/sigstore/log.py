"""The transparency log: leaves on disk, proofs and signatures over them."""

import base64
import json
import os
import threading
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import rfc8785

from imagepipe.sandbox.sigstore.keys import SigningKey
from imagepipe.sandbox.sigstore.merkle import MerkleTree, leaf_hash
from imagepipe.sandbox.sigstore.oidc import Clock

TREE_ID_DIGITS = 16
"""Hex digits of the tree id in an entry id. Source: Rekor pkg/sharding/sharding.go, TreeIDHexStringLen."""

_KEY_HINT_BYTES = 4  # Source: C2SP signed-note, the first bytes of the key id; Rekor uses its log id


class DuplicateEntryError(Exception):
    """The log holds these bytes already; the message is the index."""

    def __init__(self, index: int) -> None:
        super().__init__(f"entry {index} is the same")
        self.index = index


class LogChangedError(Exception):
    """The file on disk is not what this process wrote; to go on would fork the log."""


@dataclass(frozen=True, slots=True)
class Leaf:
    """One entry: its canonical body and the second it was taken at."""

    body: bytes
    integrated_time_s: int

    @classmethod
    def from_line(cls, line: bytes) -> "Leaf":
        """Returns the leaf in one line of the log file."""
        document = json.loads(line)
        return cls(base64.b64decode(document["body"]), document["integratedTime"])

    def to_line(self) -> bytes:
        """Returns one line of the log file; `from_line` gives the leaf back."""
        body = base64.b64encode(self.body).decode()
        return json.dumps({"body": body, "integratedTime": self.integrated_time_s}).encode() + b"\n"


class TransparencyLog:
    """An append-only JSONL file and the Merkle tree over it.

    A line is written before its entry is answered, so every entry that a client has seen is there after a restart. A
    last line without its newline was never answered and is cut off.

    Args:
        path: the JSONL file, made when absent.
        key: the log's key.
        hostname: the origin in checkpoints.
        clock: seconds since the epoch.
    """

    def __init__(self, path: Path, key: SigningKey, *, hostname: str, clock: Clock) -> None:
        self._path, self._key, self._hostname, self._clock = path, key, hostname, clock
        self._lock = threading.Lock()
        self._tree = MerkleTree()
        self._leaves: list[Leaf] = []
        self._index_of: dict[bytes, int] = {}
        self._size_bytes = 0
        self._load()

    @property
    def size(self) -> int:
        """Number of entries."""
        return len(self._leaves)

    @property
    def tree_id(self) -> int:
        """A positive int64 that follows from the key, so that it is the same after a restart."""
        return int.from_bytes(self._key.log_id[:8], "big") >> 1 | 1

    @property
    def log_id(self) -> str:
        """Hex SHA-256 of the log key's SPKI."""
        return self._key.log_id.hex()

    @property
    def public_pem(self) -> bytes:
        """The log's public key."""
        return self._key.public_pem

    @property
    def root(self) -> bytes:
        """The root over all entries."""
        return self._tree.root()

    def append(self, body: bytes) -> int:
        """Adds an entry and returns its index.

        Raises:
            DuplicateEntryError: the same bytes are there.
            LogChangedError: another process wrote the file.
        """
        with self._lock:
            digest = leaf_hash(body)
            if (index := self._index_of.get(digest)) is not None:
                raise DuplicateEntryError(index)
            leaf = Leaf(body, int(self._clock()))
            self._write(leaf.to_line())
            return self._take(leaf)

    def index_of(self, leaf_digest: bytes) -> int | None:
        """Returns where the entry with this leaf hash is, if it is."""
        return self._index_of.get(leaf_digest)

    def entry_id(self, index: int) -> str:
        """Returns the tree id and the leaf hash, 80 hex digits."""
        return f"{self.tree_id:0{TREE_ID_DIGITS}x}{leaf_hash(self._leaves[index].body).hex()}"

    def entry(self, index: int) -> dict[str, Any]:
        """Returns the entry as Rekor answers it, with a proof against the tree of now and a signed timestamp."""
        leaf, size = self._leaves[index], self.size
        promise: dict[str, Any] = {
            "body": base64.b64encode(leaf.body).decode(),
            "integratedTime": leaf.integrated_time_s,
            "logID": self.log_id,
            "logIndex": index,
        }
        proof = {
            "checkpoint": self.checkpoint(size),
            "hashes": [digest.hex() for digest in self._tree.inclusion_proof(index, size)],
            "logIndex": index,
            "rootHash": self._tree.root(size).hex(),
            "treeSize": size,
        }
        timestamp = base64.b64encode(self._key.sign(rfc8785.dumps(promise))).decode()
        return {**promise, "verification": {"inclusionProof": proof, "signedEntryTimestamp": timestamp}}

    def checkpoint(self, size: int) -> str:
        """Returns the signed note over the first size entries. Source: Rekor pkg/util/checkpoint.go."""
        root = base64.b64encode(self._tree.root(size)).decode()
        note = f"{self._hostname} - {self.tree_id}\n{size}\n{root}\n"
        signature = base64.b64encode(self._key.log_id[:_KEY_HINT_BYTES] + self._key.sign(note.encode())).decode()
        return f"{note}\n\N{EM DASH} {self._hostname} {signature}\n"

    def consistency_proof(self, first: int, last: int) -> list[bytes]:
        """Returns the hashes that tie the tree of first entries to that of last entries."""
        return self._tree.consistency_proof(first, last)

    def _load(self) -> None:
        if not self._path.exists():
            return
        content = self._path.read_bytes()
        self._size_bytes = content.rfind(b"\n") + 1
        if self._size_bytes < len(content):
            os.truncate(self._path, self._size_bytes)
        for line in content[: self._size_bytes].splitlines():
            self._take(Leaf.from_line(line))

    def _write(self, line: bytes) -> None:
        descriptor = os.open(self._path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
        try:
            if os.fstat(descriptor).st_size != self._size_bytes:
                raise LogChangedError(f"{self._path} was written by another process")
            os.write(descriptor, line)
        finally:
            os.close(descriptor)
        self._size_bytes += len(line)

    def _take(self, leaf: Leaf) -> int:
        digest = leaf_hash(leaf.body)
        index = self._tree.append(digest)
        self._leaves.append(leaf)
        self._index_of[digest] = index
        return index
