"""Rekor's HTTP face, version 1: take an entry, give it back with its proofs, tell about the log."""

import json
import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from imagepipe.sandbox.sigstore.entries import EntryRefusedError, canonical_body, check_insertable
from imagepipe.sandbox.sigstore.log import TREE_ID_DIGITS, DuplicateEntryError, LogChangedError, TransparencyLog
from imagepipe.sandbox.sigstore.merkle import leaf_hash
from imagepipe.sandbox.sigstore.wire import parse_json

_ENTRIES = "/api/v1/log/entries"
_ENTRY_ID = "^([0-9a-fA-F]{64}|[0-9a-fA-F]{80})$"
_UUID_DIGITS = 64
_MAX_QUERIES = 10  # Source: Rekor pkg/api/entries.go, maxSearchQueries

# Codes of go-openapi that Rekor's clients see in a 422. Source: go-openapi/errors schema.go and parsing.go.
_INVALID_TYPE = 601
_REQUIRED = 602
_PATTERN = 605
_TOO_SMALL = 609  # MinFailCode


class RekorRefusalError(Exception):
    """A refusal as Rekor words it."""

    def __init__(self, status: int, message: str, *, code: int | None = None) -> None:
        super().__init__(message)
        self.status, self.message, self.code = status, message, status if code is None else code

    def to_response(self) -> Response:
        """Returns {"code", "message"}; a 404 has no body. Source: Rekor pkg/api/error.go."""
        if self.status == 404:
            return Response(status_code=404)
        return JSONResponse({"code": self.code, "message": self.message}, status_code=self.status)


@dataclass(frozen=True, slots=True)
class Rekor:
    """Answers for one log, without shards."""

    log: TransparencyLog

    def routes(self) -> list[Route]:
        """Returns the routes; sigstore-python asks `retrieve` with a slash at the end."""
        return [
            Route("/api/v1/log", self._info),
            Route("/api/v1/log/publicKey", self._public_key),
            Route("/api/v1/log/proof", self._proof),
            Route(_ENTRIES, self._create, methods=["POST"]),
            Route(_ENTRIES, self._by_index, methods=["GET"]),
            Route(f"{_ENTRIES}/retrieve", self._retrieve, methods=["POST"]),
            Route(f"{_ENTRIES}/retrieve/", self._retrieve, methods=["POST"]),
            Route(f"{_ENTRIES}/{{entry_id}}", self._by_id),
        ]

    async def _create(self, request: Request) -> Response:
        """Answers 201, or 409 when the log holds the entry. Source: Rekor pkg/api/entries.go, createLogEntry."""
        proposed = _json(await request.body())
        try:
            check_insertable(proposed)
            index = self.log.append(canonical_body(proposed))
        except EntryRefusedError as error:
            raise RekorRefusalError(400, f"error processing entry: {error}") from error
        except DuplicateEntryError as error:
            entry_id = self.log.entry_id(error.index)
            message = f"an equivalent entry already exists in the transparency log with UUID {entry_id}"
            headers = {"Location": f"{_ENTRIES}/{entry_id}"}
            return JSONResponse({"code": 409, "message": message}, status_code=409, headers=headers)
        except LogChangedError as error:
            raise RekorRefusalError(500, f"unexpected result from transparency log: {error}") from error
        entry_id = self.log.entry_id(index)
        headers = {"Location": f"{_ENTRIES}/{entry_id}", "ETag": entry_id}
        return JSONResponse({entry_id: self.log.entry(index)}, status_code=201, headers=headers)

    async def _by_index(self, request: Request) -> Response:
        index = _number(request, "logIndex", minimum=0)
        if index >= self.log.size:
            raise RekorRefusalError(404, "")
        return JSONResponse(self._answer(index))

    async def _by_id(self, request: Request) -> Response:
        index = self._index(_checked_id(str(request.path_params["entry_id"]), "entryUUID in path"))
        if index is None:
            raise RekorRefusalError(404, "")
        return JSONResponse(self._answer(index))

    async def _retrieve(self, request: Request) -> Response:
        """Answers what is there; what is not there is left out. Source: Rekor pkg/api/entries.go, SearchLogQuery."""
        query = _json(await request.body())
        wanted = {name: query.get(name) or [] for name in ("entryUUIDs", "entries", "logIndexes")}
        if not all(isinstance(each, list) for each in wanted.values()):
            raise RekorRefusalError(400, "entryUUIDs, entries and logIndexes are lists")
        if sum(map(len, wanted.values())) > _MAX_QUERIES:
            raise RekorRefusalError(422, f"more than max allowed {_MAX_QUERIES} entries in request")
        return JSONResponse([self._answer(index) for index in self._search(wanted)])

    async def _info(self, _: Request) -> Response:
        """Source: Rekor pkg/api/tlog.go, GetLogInfoHandler."""
        size = self.log.size
        info = {
            "inactiveShards": [],
            "rootHash": self.log.root.hex(),
            "signedTreeHead": self.log.checkpoint(size),
            "treeID": str(self.log.tree_id),
            "treeSize": size,
        }
        return JSONResponse(info)

    async def _public_key(self, _: Request) -> Response:
        return Response(self.log.public_pem, media_type="application/x-pem-file")

    async def _proof(self, request: Request) -> Response:
        """Answers with the root of now, not of lastSize. Source: Rekor pkg/api/tlog.go, GetLogProofHandler."""
        last = _number(request, "lastSize", minimum=1)
        first = _number(request, "firstSize", minimum=1) if "firstSize" in request.query_params else 1
        if first > last:
            raise RekorRefusalError(400, f"firstSize({first}) must be less than lastSize({last})")
        if last > self.log.size:
            message = f"the tree size requested({last}) was greater than what is currently observable({self.log.size})"
            raise RekorRefusalError(400, message)
        hashes = [digest.hex() for digest in self.log.consistency_proof(first, last)]
        return JSONResponse({"hashes": hashes, "rootHash": self.log.root.hex()})

    def _answer(self, index: int) -> dict[str, Any]:
        return {self.log.entry_id(index): self.log.entry(index)}

    def _index(self, entry_id: str) -> int | None:
        """Returns where the entry of an id or a bare leaf hash is; an id of another tree is nowhere."""
        tree = entry_id[:-_UUID_DIGITS]
        if tree and tree.lower() != f"{self.log.tree_id:0{TREE_ID_DIGITS}x}":
            return None
        return self.log.index_of(bytes.fromhex(entry_id[-_UUID_DIGITS:]))

    def _search(self, wanted: dict[str, list[Any]]) -> Iterator[int]:
        for entry_id in wanted["entryUUIDs"]:
            if (index := self._index(_checked_id(str(entry_id), "entryUUIDs in body"))) is not None:
                yield index
        for proposed in wanted["entries"]:
            try:
                index = self.log.index_of(leaf_hash(canonical_body(proposed)))
            except EntryRefusedError as error:
                raise RekorRefusalError(400, str(error)) from error
            if index is not None:
                yield index
        for index in wanted["logIndexes"]:
            if isinstance(index, int) and 0 <= index < self.log.size:
                yield index


def _json(body: bytes) -> dict[str, Any]:
    try:
        document = parse_json(body)
    except ValueError as error:
        raise RekorRefusalError(400, f'parsing body body from "" failed, because {error}') from error
    if not isinstance(document, dict):
        raise RekorRefusalError(400, "the body is not a JSON object")
    return document


def _checked_id(entry_id: str, where: str) -> str:
    if not re.fullmatch(_ENTRY_ID, entry_id):
        raise RekorRefusalError(422, f"{where} should match '{_ENTRY_ID}'", code=_PATTERN)
    return entry_id


def _number(request: Request, name: str, *, minimum: int) -> int:
    text = request.query_params.get(name)
    if not text:
        raise RekorRefusalError(422, f"{name} in query is required", code=_REQUIRED)
    if not re.fullmatch("-?[0-9]+", text):
        raise RekorRefusalError(422, f"{name} in query must be of type int64: {json.dumps(text)}", code=_INVALID_TYPE)
    if int(text) < minimum:
        message = f"{name} in query should be greater than or equal to {minimum}"
        raise RekorRefusalError(422, message, code=_TOO_SMALL)
    return int(text)
