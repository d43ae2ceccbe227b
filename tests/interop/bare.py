"""A registry without the referrers API: Debian's docker-registry as it is, behind TLS and without a login."""

import socket
import ssl
import subprocess
from pathlib import Path
from time import monotonic, sleep
from typing import Any, Final, Self

import httpx

from imagepipe.sandbox.pki import Authority
from tests.interop.world import Box, Registry, peer

_READY_S: Final = 20.0
_INDEX: Final = "application/vnd.oci.image.index.v1+json"


class BareRegistry:
    """The registry, up while the block lasts.

    Args:
        folder: Where it keeps everything.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._process: subprocess.Popen[bytes] | None = None
        with socket.create_server(("127.0.0.1", 0)) as free:
            self.host = f"127.0.0.1:{free.getsockname()[1]}"
        authority = Authority.create(folder / "pki", "bare registry CA")
        self._certificate = authority.issue_server("bare", ("127.0.0.1",))
        self.registry = Registry(self.host, authority.certificate_file, None, folder / "nobody")

    def __enter__(self) -> Self:
        certificate, key = self._certificate
        config = self._folder / "config.yml"
        config.write_text(
            "version: 0.1\nlog: {level: error}\n"
            f"storage: {{filesystem: {{rootdirectory: {self._folder}/data}}}}\n"
            f"http: {{addr: '{self.host}', tls: {{certificate: {certificate}, key: {key}}}}}\n"
        )
        with (self._folder / "log").open("wb") as log:
            command = [peer("docker-registry"), "serve", str(config)]
            self._process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=log, stderr=log)
        self._wait()
        return self

    def __exit__(self, *_: object) -> None:
        if self._process is not None:
            self._process.terminate()
            self._process.wait(20)

    def configuration(self, box: Box) -> Path:
        """Returns an `imagepipe.toml` for this registry and the sandbox's Sigstore."""
        sigstore = box.document["sigstore"]
        file = self._folder / "imagepipe.toml"
        file.write_text(
            f'registry = "{self.host}"\n[harbor]\nca_file = "{self.registry.ca_file}"\n'
            f'[signing]\nmode = "keyless"\ntrust_config = "{sigstore["trust_config"]}"\n'
            "[policies.bare]\n"
            f'signed_by = [{{ identity = "{box.identity}", issuer = "{box.issuer}" }}]\n'
        )
        return file

    def get(self, path: str) -> httpx.Response:
        """Asks the registry as any HTTP client may."""
        return self._ask("GET", path, headers={"Accept": _INDEX})

    def put_index(self, path: str, document: dict[str, object]) -> None:
        """Writes an index as any HTTP client may."""
        self._ask("PUT", path, headers={"Content-Type": _INDEX}, json=document).raise_for_status()

    def _ask(self, method: str, path: str, **more: Any) -> httpx.Response:
        trust = ssl.create_default_context(cafile=str(self.registry.ca_file))
        return httpx.request(method, f"https://{self.host}{path}", verify=trust, trust_env=False, **more)

    def _wait(self) -> None:
        until = monotonic() + _READY_S
        while True:
            try:
                self.get("/v2/").raise_for_status()
            except httpx.HTTPError:
                assert monotonic() < until, (self._folder / "log").read_text()
                sleep(0.05)
            else:
                return
