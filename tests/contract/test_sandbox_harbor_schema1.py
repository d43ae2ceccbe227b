"""Signed manifests of schema 1, which every Harbor still takes: the digest speaks of the bytes without signatures."""

import base64
import json
from collections.abc import Iterator
from pathlib import Path

import pytest
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.utils import decode_dss_signature

from tests.contract.harbor_world import ADMIN, PROJECT, HarborClient, digest_of, harbor_of_a_team
from tests.contract.registry_worlds import Server

PRETTY = "application/vnd.docker.distribution.manifest.v1+prettyjws"
R = f"{PROJECT}/old"
LAYER = b"a layer of long ago"


@pytest.fixture
def harbor(backend: Server, seeds: Path, tmp_path: Path) -> Iterator[HarborClient]:
    with harbor_of_a_team(tmp_path, f"http://{backend.host}", seeds) as client:
        yield client


def b64(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).decode().rstrip("=")


def signed(content: bytes) -> bytes:
    """Returns a manifest with one signature in it, as docker 1.9 made them (libtrust's pretty JSON)."""
    key = ec.generate_private_key(ec.SECP256R1())
    point = key.public_key().public_numbers()
    protected = b64(json.dumps({"formatLength": len(content) - 2, "formatTail": b64(content[-2:])}).encode())
    signature = key.sign(f"{protected}.{b64(content)}".encode(), ec.ECDSA(hashes.SHA256()))
    jwk = {"crv": "P-256", "kty": "EC", "x": b64(point.x.to_bytes(32)), "y": b64(point.y.to_bytes(32))}
    block = {
        "header": {"jwk": jwk, "alg": "ES256"},
        "signature": b64(b"".join(part.to_bytes(32) for part in decode_dss_signature(signature))),
        "protected": protected,
    }
    return content[:-2] + b',\n   "signatures": ' + json.dumps([block]).encode() + content[-2:]


def manifest(tag: str) -> bytes:
    document = {
        "schemaVersion": 1,
        "name": R,
        "tag": tag,
        "architecture": "amd64",
        "fsLayers": [{"blobSum": digest_of(LAYER)}],
        "history": [{"v1Compatibility": json.dumps({"id": "a" * 64})}],
    }
    return json.dumps(document, indent=3).encode()


def test_a_signed_manifest_is_an_image_without_a_config(harbor: HarborClient) -> None:
    content = manifest("v1")
    raw = signed(content)
    assert harbor.push_blob(R, LAYER).status_code == 201

    pushed = harbor.send("PUT", f"/v2/{R}/manifests/v1", ADMIN, content=raw, headers={"Content-Type": PRETTY})

    assert (pushed.status_code, pushed.headers.get("docker-content-digest")) == (201, digest_of(content)), pushed.text
    read = harbor.send("GET", f"/v2/{R}/manifests/v1", ADMIN, headers={"Accept": PRETTY})
    assert (read.status_code, json.loads(read.content)["fsLayers"]) == (200, [{"blobSum": digest_of(LAYER)}])
    [artifact] = harbor.ok("GET", f"/projects/{PROJECT}/repositories/old/artifacts").json()
    assert {name: artifact.get(name) for name in ("type", "media_type", "manifest_media_type", "digest", "size")} == {
        "type": "IMAGE",
        "media_type": PRETTY,
        "manifest_media_type": PRETTY,
        "digest": digest_of(content),
        "size": len(raw) + len(LAYER),
    }
    assert artifact["extra_attrs"] == {"architecture": "amd64"}
    assert [tag["name"] for tag in artifact["tags"]] == ["v1"]


def test_a_signature_that_does_not_fit_is_the_registrys_to_refuse(harbor: HarborClient) -> None:
    assert harbor.push_blob(R, LAYER).status_code == 201
    forged = signed(manifest("v1")).replace(b'"amd64"', b'"armhf"')

    refused = harbor.send("PUT", f"/v2/{R}/manifests/v1", ADMIN, content=forged, headers={"Content-Type": PRETTY})

    assert refused.status_code == 400
    assert refused.json()["errors"][0]["code"] in {"MANIFEST_UNVERIFIED", "MANIFEST_INVALID"}
    assert harbor.send("GET", f"/v2/{R}/tags/list", ADMIN).json()["tags"] == []
