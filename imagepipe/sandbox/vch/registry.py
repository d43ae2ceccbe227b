"""The VCH asks the registry itself: ping, token, manifests, config; in the words of VIC's imagec.

Source: VIC v1.5.8 lib/imagec/imagec.go:552-667, lib/imagec/docker.go:85-160, 325-384, pkg/fetcher/fetcher.go.
"""

import base64
import binascii
import hashlib
import json
import ssl
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from http import HTTPStatus
from typing import Any
from urllib.parse import urlencode, urlsplit

import httpx

from imagepipe.sandbox.vch.answers import RefusalError
from imagepipe.sandbox.vch.config import Config
from imagepipe.sandbox.vch.references import Reference, allowed

SCHEMA2 = "application/vnd.docker.distribution.manifest.v2+json"
MANIFEST_LIST = "application/vnd.docker.distribution.manifest.list.v2+json"
SCHEMA1 = "application/vnd.docker.distribution.manifest.v1+json"
DEADLINE_S = 30.0
NO_SIGNATURE = "missing signature key"
"""What libtrust says of anything that is no signed schema1. Source: vmware/vic#8565."""


class TagNotFoundError(Exception):
    """The registry answered 404 to a manifest."""


class PullError(Exception):
    """The pull fails after its first line: the text goes into the stream."""


@dataclass(frozen=True, slots=True)
class Credentials:
    """What X-Registry-Auth carries and VIC uses of it."""

    username: str = ""
    password: str = ""

    def __repr__(self) -> str:
        return f"Credentials(username={self.username!r})"

    @classmethod
    def from_header(cls, header: str) -> "Credentials":
        """Returns the credentials in base64url JSON; what cannot be decoded is silently anonymous.

        Source: docker 1.13 api/server/router/image/image_routes.go:98-107.
        """
        try:
            padded = header + "=" * (-len(header) % 4)
            data = json.loads(base64.urlsafe_b64decode(padded))
            return cls(str(data.get("username") or ""), str(data.get("password") or ""))
        except (ValueError, binascii.Error, AttributeError):
            return cls()

    def header(self, host: str) -> str:
        """Returns X-Registry-Auth for the engine below."""
        data = {"username": self.username, "password": self.password, "serveraddress": host}
        return base64.urlsafe_b64encode(json.dumps(data).encode()).decode()

    @property
    def basic(self) -> tuple[str, str] | None:
        """The pair for basic authentication, None if one half is missing."""
        return (self.username, self.password) if self.username and self.password else None


@dataclass(frozen=True, slots=True)
class Manifest:
    """A schema2 manifest for linux/amd64 with its exact bytes."""

    raw: bytes

    @property
    def digest(self) -> str:
        """The digest of the bytes."""
        return "sha256:" + hashlib.sha256(self.raw).hexdigest()

    @property
    def blobs(self) -> list[str]:
        """The digests of the compressed layers, base first."""
        return [layer["digest"] for layer in json.loads(self.raw)["layers"]]

    @property
    def config_digest(self) -> str:
        """The digest of the image's config."""
        return str(json.loads(self.raw)["config"]["digest"])


class Registry:
    """One conversation with one registry about one repository."""

    def __init__(self, client: httpx.AsyncClient, base: str, named: Reference, credentials: Credentials) -> None:
        self._client = client
        self._base = base
        self._named = named
        self._credentials = credentials
        self._token = ""

    async def authorize(self) -> None:
        """Pings the registry, learns the token service from the manifest's challenge and gets a token.

        Raises:
            RefusalError: before the stream has begun, so with an HTTP status.
        """
        await self._ping()
        url = f"{self._base}/v2/{self._named.path}/manifests/{self._named.tag_or_digest}"
        response = await self._get(url)
        if response.status_code not in {200, 401}:
            response = await self._get(f"{self._base}/v2/")
        if response.status_code == 401:
            try:
                token_url = challenge_url(response.headers.get("www-authenticate", ""))
            except ValueError as exc:
                raise RefusalError(f"Failed to obtain OAuth endpoint: {exc}", 500) from exc
            self._token = await self._fetch_token(token_url)

    async def login(self) -> None:
        """Proves the credentials at the token service. Source: VIC v1.5.8 backends/system.go:387-440.

        Raises:
            RefusalError: 401.
        """
        response = await self._get(f"{self._base}/v2/")
        try:
            if response.status_code == 401:
                self._token = await self._fetch_token(challenge_url(response.headers.get("www-authenticate", "")))
        except (RefusalError, ValueError) as exc:
            text = f"Get {self._base}/v2/: unauthorized: incorrect username or password"
            raise RefusalError(text, 401) from exc

    async def manifest(self, reference: str) -> Manifest:
        """Returns the linux/amd64 schema2 manifest behind a tag or digest.

        Raises:
            PullError, TagNotFoundError: what goes into the stream.
        """
        response = await self._fetch(f"manifests/{reference}", accept=f"{SCHEMA2}, {MANIFEST_LIST}")
        found = Manifest(response.content)
        media_type = _media_type(response)
        if media_type == MANIFEST_LIST:
            inner = _platform_digest(json.loads(response.content))
            response = await self._fetch(f"manifests/{inner}", accept=SCHEMA2)
            found, media_type = Manifest(response.content), _media_type(response)
        if media_type != SCHEMA2:
            raise PullError(f"Error while pulling image manifest: {NO_SIGNATURE}")
        return found

    async def config(self, manifest: Manifest) -> Mapping[str, Any]:
        """Returns the image's config."""
        response = await self._fetch(f"blobs/{manifest.config_digest}")
        data: dict[str, Any] = response.json()
        return data

    def url(self, rest: str) -> str:
        """Returns a URL of the repository."""
        return f"{self._base}/v2/{self._named.path}/{rest}"

    async def _ping(self) -> None:
        url = f"{self._base}/v2/"
        try:
            response = await self._client.head(url)
        except httpx.TransportError as exc:
            raise RefusalError(f"Head {url}: {_go_words(exc, self._named.host)}") from exc
        if response.status_code not in {200, 401}:
            raise RefusalError(f"Unexpected http code: {response.status_code}, URL: {url}")
        if response.headers.get("docker-distribution-api-version") != "registry/2.0":
            raise RefusalError("Missing Docker-Distribution-API-Version header", 500)

    async def _get(self, url: str) -> httpx.Response:
        try:
            return await self._client.get(url, auth=self._credentials.basic)
        except httpx.TransportError as exc:
            raise RefusalError(f"Get {url}: {_go_words(exc, self._named.host)}") from exc

    async def _fetch_token(self, url: str) -> str:
        response = await self._get(url)
        if response.status_code == 200:
            data = response.json()
            return str(data.get("token") or data.get("access_token") or "")
        reason = "www-authenticate header is missing"
        if response.status_code != 401:
            reason = _unexpected(response, url)
        elif "www-authenticate" in response.headers:
            reason = "Authentication required"
        raise RefusalError(f"FetchToken ({url}) failed: {reason}", 500)

    async def _fetch(self, rest: str, *, accept: str = "*/*") -> httpx.Response:
        url = self.url(rest)
        headers = {"accept": accept}
        if self._token:
            headers["authorization"] = f"Bearer {self._token}"
        auth = None if self._token else self._credentials.basic
        try:
            response = await self._client.get(url, headers=headers, auth=auth)
        except httpx.TransportError as exc:
            words = _go_words(exc, self._named.host)
            raise PullError(f"Error while pulling image manifest: Get {url}: {words}") from exc
        if response.status_code == 200:
            return response
        raise self._failure(response, url)

    def _failure(self, response: httpx.Response, url: str) -> Exception:
        prefix = "Error while pulling image manifest: "
        if response.status_code == 404:
            return PullError(prefix + NO_SIGNATURE) if "OCI" in response.text else TagNotFoundError()
        if response.status_code != 401:
            return PullError(prefix + _unexpected(response, url))
        return PullError(prefix + self._unauthorized(response.headers.get("www-authenticate", ""), url))

    def _unauthorized(self, challenge: str, url: str) -> str:
        if not self._token and challenge:
            return "Authentication required"
        if 'error="insufficient_scope"' in challenge:
            return f"pull access denied for {self._named.name}, repository does not exist or may require 'docker login'"
        if 'error="invalid_token"' in challenge:
            return "not authorized"
        return f"Unexpected http code: 401, URL: {url}"


@asynccontextmanager
async def registry(
    config: Config, named: Reference, credentials: Credentials, transport: httpx.AsyncBaseTransport | None = None
) -> AsyncIterator[Registry]:
    """Yields a conversation with the registry of `named`; `transport` replaces the network."""
    insecure = bool(config.insecure_registries) and allowed(named.host, config.insecure_registries)
    host = "registry-1.docker.io" if named.host == "docker.io" else named.host
    async with httpx.AsyncClient(
        verify=_context(config.registry_ca_files.get(named.host), insecure=insecure),
        transport=transport,
        timeout=DEADLINE_S,
        trust_env=False,
        follow_redirects=True,
        headers={"user-agent": f"vic/v{config.vic_version}"},
    ) as client:
        yield Registry(client, f"https://{host}", named, credentials)


def challenge_url(header: str) -> str:
    """Returns the token URL of a Bearer challenge, which must hold no space after the scheme.

    Source: VIC v1.5.8 pkg/fetcher/fetcher.go:558-606.

    Raises:
        ValueError: in VIC's words.
    """
    scheme, _, rest = header.partition(" ")
    if not rest or " " in rest or scheme.lower() != "bearer":
        raise ValueError("www-authenticate header is corrupted")
    fields = dict(part.split("=", 1) for part in rest.split(",") if "=" in part)
    fields = {name: value.strip('"') for name, value in fields.items()}
    for name in ("realm", "service"):
        if not fields.get(name):
            raise ValueError(f"missing {name} in bearer auth challenge")
    query = {name: fields[name] for name in ("scope", "service") if fields.get(name)}
    joint = "&" if urlsplit(fields["realm"]).query else "?"
    return fields["realm"] + joint + urlencode(query)


def _context(ca_file: str | None, *, insecure: bool) -> ssl.SSLContext:
    context = ssl.create_default_context(cafile=ca_file)
    if insecure:
        context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    return context


def _media_type(response: httpx.Response) -> str:
    return str(response.headers.get("content-type", "")).partition(";")[0].strip()


def _platform_digest(index: Mapping[str, Any]) -> str:
    for entry in index["manifests"]:
        platform = entry.get("platform", {})
        if (platform.get("os"), platform.get("architecture")) == ("linux", "amd64") and entry["mediaType"] == SCHEMA2:
            return str(entry["digest"])
    raise TagNotFoundError


def _unexpected(response: httpx.Response, url: str) -> str:
    # Source: VIC v1.5.8 pkg/fetcher/fetcher.go:470-482; there is no separator before "Message" there either
    text = f"Unexpected http code: {response.status_code} ({HTTPStatus(response.status_code).phrase}), URL: {url}"
    try:
        messages = [error["message"] for error in response.json()["errors"] if error.get("message")]
    except (ValueError, KeyError, TypeError):
        return text
    detail = ", ".join(messages)
    if "does not have permission" in detail:
        return f"unauthorized: {detail}"
    return f"{text}Message: {detail}" if detail else text


def _go_words(exc: Exception, host: str) -> str:
    text = str(exc)
    known = {
        "Hostname mismatch": f"x509: certificate is not valid for {host}",
        "IP address mismatch": f"x509: certificate is not valid for {host}",
        "certificate has expired": "x509: certificate has expired or is not yet valid",
        "CERTIFICATE_VERIFY_FAILED": "x509: certificate signed by unknown authority",
        "WRONG_VERSION_NUMBER": "http: server gave HTTP response to HTTPS client",
        "RECORD_LAYER_FAILURE": "http: server gave HTTP response to HTTPS client",
        "Name or service not known": f"dial tcp: lookup {host.partition(':')[0]}: no such host",
        "No address associated": f"dial tcp: lookup {host.partition(':')[0]}: no such host",
        "Temporary failure in name resolution": f"dial tcp: lookup {host.partition(':')[0]}: no such host",
        "All connection attempts failed": f"dial tcp {host}: getsockopt: connection refused",
    }
    found = next((words for sign, words in known.items() if sign.lower() in text.lower()), None)
    return found or (f"dial tcp {host}: i/o timeout" if isinstance(exc, httpx.TimeoutException) else text)
