"""What clients must be given to trust this Sigstore: the files beside the state."""

import base64
import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from cryptography import x509
from cryptography.hazmat.primitives import serialization
from cryptography.x509.oid import NameOID

from imagepipe.sandbox.sigstore.ca import ORGANIZATION, VALID_FROM, pem
from imagepipe.sandbox.sigstore.keys import SigningKey, write_atomically

_VALID_FOR = {"start": VALID_FROM.strftime("%Y-%m-%dT%H:%M:%SZ")}
_OPERATOR = "imagepipe-sandbox"


@dataclass(frozen=True, slots=True, kw_only=True)
class TrustMaterial:
    """The public half of every service.

    Args:
        url: where all services answer.
        rekor: the log's key.
        ct_log: the CT log's key.
        ca_chain: [intermediate, root].
        tsa_chain: [leaf, root] of the timestamp authority; empty when there is none.
    """

    url: str
    rekor: SigningKey
    ct_log: SigningKey
    ca_chain: Sequence[x509.Certificate]
    tsa_chain: Sequence[x509.Certificate] = ()

    def trusted_root(self) -> dict[str, Any]:
        """Returns the trusted root. Source: protobuf-specs sigstore_trustroot.proto, TrustedRoot."""
        return {
            "mediaType": "application/vnd.dev.sigstore.trustedroot+json;version=0.1",
            "tlogs": [self._log(self.rekor)],
            "certificateAuthorities": [self._authority(self.ca_chain)],
            "ctlogs": [self._log(self.ct_log)],
            "timestampAuthorities": [self._authority(self.tsa_chain)] if self.tsa_chain else [],
        }

    def client_trust_config(self) -> dict[str, Any]:
        """Returns the trusted root with the addresses. Source: sigstore_trustroot.proto, ClientTrustConfig."""
        timestamps = {"tsaUrls": [self._service("/api/v1/timestamp")], "tsaConfig": {"selector": "ANY"}}
        signing_config = {
            "mediaType": "application/vnd.dev.sigstore.signingconfig.v0.2+json",
            "caUrls": [self._service()],
            "oidcUrls": [self._service()],
            "rekorTlogUrls": [self._service()],
            "rekorTlogConfig": {"selector": "ANY"},
        }
        return {
            "mediaType": "application/vnd.dev.sigstore.clienttrustconfig.v0.1+json",
            "trustedRoot": self.trusted_root(),
            "signingConfig": signing_config | (timestamps if self.tsa_chain else {}),
        }

    def write(self, folder: Path) -> None:
        """Writes trust_config.json, trusted_root.json, ca_chain.pem, rekor.pub and ctlog.pub into folder."""
        files = {
            "trust_config.json": _json(self.client_trust_config()),
            "trusted_root.json": _json(self.trusted_root()),
            "ca_chain.pem": "".join(map(pem, self.ca_chain)).encode(),
            "rekor.pub": self.rekor.public_pem,
            "ctlog.pub": self.ct_log.public_pem,
        }
        for name, content in files.items():
            write_atomically(folder / name, content)

    def _service(self, path: str = "") -> dict[str, Any]:
        """Version 1 is Fulcio's too, although its path says v2. Source: sigstore-python 4.5.1, FULCIO_VERSIONS."""
        return {"url": self.url + path, "majorApiVersion": 1, "validFor": _VALID_FOR, "operator": _OPERATOR}

    def _log(self, key: SigningKey) -> dict[str, Any]:
        return {
            "baseUrl": self.url,
            "hashAlgorithm": "SHA2_256",
            "publicKey": {
                "rawBytes": _b64(key.spki),
                "keyDetails": "PKIX_ECDSA_P256_SHA_256",
                "validFor": _VALID_FOR,
            },
            "logId": {"keyId": _b64(key.log_id)},
        }

    def _authority(self, chain: Sequence[x509.Certificate]) -> dict[str, Any]:
        certificates = [{"rawBytes": _b64(each.public_bytes(serialization.Encoding.DER))} for each in chain]
        [name] = chain[-1].subject.get_attributes_for_oid(NameOID.COMMON_NAME)
        return {
            "subject": {"organization": ORGANIZATION, "commonName": name.value},
            "uri": self.url,
            "certChain": {"certificates": certificates},
            "validFor": _VALID_FOR,
        }


def _b64(data: bytes) -> str:
    return base64.b64encode(data).decode()


def _json(document: dict[str, Any]) -> bytes:
    return json.dumps(document, indent=2).encode() + b"\n"
