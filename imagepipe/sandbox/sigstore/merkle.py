"""The append-only tree of RFC 6962, with inclusion and consistency proofs."""

import hashlib


def leaf_hash(body: bytes) -> bytes:
    """Returns the hash of one entry. Source: RFC 6962 section 2.1, leaf prefix 0x00."""
    return hashlib.sha256(b"\x00" + body).digest()


def node_hash(left: bytes, right: bytes) -> bytes:
    """Returns the hash of two subtrees. Source: RFC 6962 section 2.1, node prefix 0x01."""
    return hashlib.sha256(b"\x01" + left + right).digest()


def _split(width: int) -> int:
    """Returns the largest power of two below width (width > 1)."""
    return 1 << (width - 1).bit_length() - 1


class MerkleTree:
    """Keeps the hash of every complete subtree, so an append costs O(1) amortised and a proof O(log n) hashes.

    Laws, for every first <= second <= size and index < second:
        `inclusion_proof(index, second)` leads from the leaf to `root(second)`;
        `consistency_proof(first, second)` leads from `root(first)` to `root(second)`.
    """

    def __init__(self) -> None:
        self._levels: list[list[bytes]] = [[]]

    @property
    def size(self) -> int:
        """Number of leaves."""
        return len(self._levels[0])

    def append(self, leaf: bytes) -> int:
        """Adds a leaf hash and returns its index."""
        index = self.size
        level, position, node = 0, index, leaf
        while True:
            self._levels[level].append(node)
            if not position & 1:
                return index
            node = node_hash(self._levels[level][-2], node)
            level, position = level + 1, position >> 1
            if level == len(self._levels):
                self._levels.append([])

    def root(self, size: int | None = None) -> bytes:
        """Returns the root over the first size leaves (all, when not given). Source: RFC 6962 section 2.1."""
        size = self._checked(size)
        return self._hash(0, size) if size else hashlib.sha256().digest()

    def inclusion_proof(self, index: int, size: int | None = None) -> list[bytes]:
        """Returns the sibling hashes from the leaf up. Source: RFC 6962 section 2.1.1, PATH(m, D[n])."""
        size = self._checked(size)
        if not 0 <= index < size:
            raise IndexError(f"leaf {index} is not among the first {size}")
        path: list[bytes] = []
        low, high = 0, size
        while high - low > 1:
            middle = low + _split(high - low)
            if index < middle:
                path.append(self._hash(middle, high))
                high = middle
            else:
                path.append(self._hash(low, middle))
                low = middle
        return path[::-1]

    def consistency_proof(self, first: int, second: int) -> list[bytes]:
        """Returns the hashes that tie root(first) to root(second). Source: RFC 6962 section 2.1.2, PROOF(m, D[n])."""
        if not 0 <= first <= self._checked(second):
            raise IndexError(f"{first} is not a size before {second}")
        path: list[bytes] = []
        low, high = 0, second
        while 0 < first < high:
            middle = low + _split(high - low)
            if first <= middle:
                path.append(self._hash(middle, high))
                high = middle
            else:
                path.append(self._hash(low, middle))
                low = middle
        if low > 0:
            path.append(self._hash(low, high))
        return path[::-1]

    def _checked(self, size: int | None) -> int:
        if size is None:
            return self.size
        if not 0 <= size <= self.size:
            raise IndexError(f"the log has {self.size} leaves, not {size}")
        return size

    def _hash(self, low: int, high: int) -> bytes:
        width = high - low
        level = width.bit_length() - 1
        if width == 1 << level and low % width == 0:
            return self._levels[level][low // width]
        middle = low + _split(width)
        return node_hash(self._hash(low, middle), self._hash(middle, high))
