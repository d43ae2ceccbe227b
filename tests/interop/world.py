"""A sandbox of its own, and the tools of others, run as somebody would who knows nothing of imagepipe."""

import base64
import json
import os
import shutil
import subprocess
import sys
from collections.abc import Mapping
from contextlib import ExitStack
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, Final, Self

import httpx
import pytest

from imagepipe.model.digest import Digest
from imagepipe.sandbox.world import Options, World
from tests.watching import watched

ROOT: Final = Path(__file__).parents[2]
PEERS: Final = ROOT / ".cache" / "peers" / "bin"
SIGNATURE: Final = "https://sigstore.dev/cosign/sign/v1"
PROVENANCE: Final = "https://slsa.dev/provenance/v1"
PROMOTION: Final = "https://imagepipe.dev/promotion/v1"
_PATIENCE_S: Final = 120.0


@dataclass(frozen=True, slots=True)
class Answer:
    """What a program said and how it ended."""

    code: int
    out: str
    err: str

    @property
    def text(self) -> str:
        """Both streams, for the message of a failed assertion and for words that may be on either."""
        return f"{self.out}\n{self.err}"

    def json(self) -> Any:
        """Returns the document on stdout."""
        return json.loads(self.out)


def run(command: list[str], env: Mapping[str, str], cwd: Path = ROOT) -> Answer:
    """Runs a program with exactly this environment."""
    done = subprocess.run(
        command, env=dict(env), cwd=cwd, capture_output=True, text=True, check=False, timeout=_PATIENCE_S
    )
    return Answer(done.returncode, done.stdout, done.stderr)


def peer(name: str) -> str:
    """Returns the program; where it cannot be had, `.ci/test` leaves these tests out, and names and counts them."""
    fetched = PEERS / name
    found = str(fetched) if os.access(fetched, os.X_OK) else shutil.which(name)
    if found is None:
        pytest.fail(f"{name} is not here: run .ci/bootstrap and .ci/peers, or put it on PATH")
    return found


@dataclass(frozen=True, slots=True)
class Registry:
    """A registry as the tools of others are told of it.

    Attributes:
        host: `host:port`.
        ca_file: What its certificate chains up to.
        login: User name and password, or None for nobody.
        folder: Where files for the tools go.
    """

    host: str
    ca_file: Path
    login: tuple[str, str] | None
    folder: Path

    @property
    def docker_config(self) -> Path:
        """Returns a folder with the `config.json` that `docker login` would have written."""
        auths = {}
        if self.login is not None:
            auths[self.host] = {"auth": base64.b64encode(":".join(self.login).encode()).decode()}
        self.folder.mkdir(exist_ok=True)
        (self.folder / "config.json").write_text(json.dumps({"auths": auths}))
        return self.folder

    @property
    def cert_dir(self) -> Path:
        """Returns a folder with the CA as skopeo wants it."""
        folder = self.folder / "certs"
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "ca.crt").write_bytes(self.ca_file.read_bytes())
        return folder

    @property
    def environment(self) -> dict[str, str]:
        """Returns all that a tool gets to know: nothing of ours."""
        return {
            "PATH": os.environ["PATH"],
            "HOME": str(self.folder),
            "DOCKER_CONFIG": str(self.docker_config),
            "SSL_CERT_FILE": str(self.ca_file),
        }

    def cosign(self, *words: str, trust: Path) -> Answer:
        """Runs cosign on this registry; the trust files keep it from asking the public Sigstore's TUF.

        Args:
            words: Its arguments.
            trust: The folder with the trust files of the Sigstore.
        """
        files = {
            "SIGSTORE_ROOT_FILE": "ca_chain.pem",
            "SIGSTORE_REKOR_PUBLIC_KEY": "rekor.pub",
            "SIGSTORE_CT_LOG_PUBLIC_KEY_FILE": "ctlog.pub",
        }
        return run([peer("cosign"), *words], self.environment | {key: str(trust / name) for key, name in files.items()})

    def oras(self, *words: str) -> Answer:
        """Runs oras on this registry."""
        ours = ("--ca-file", str(self.ca_file), "--registry-config", str(self.docker_config / "config.json"))
        return run([peer("oras"), *words, *ours], self.environment)

    def oras_copy(self, source: "Registry", image: str, target: str, *flags: str) -> Answer:
        """Copies an image from another registry into this one."""
        ends = (("from", source), ("to", self))
        ours = [
            word
            for end, one in ends
            for word in (
                *(f"--{end}-ca-file", str(one.ca_file)),
                *(f"--{end}-registry-config", str(one.docker_config / "config.json")),
            )
        ]
        return run([peer("oras"), "copy", *flags, *ours, image, target], self.environment)

    def skopeo(self, *words: str) -> Answer:
        """Runs skopeo, which is given CAs and logins by flags of each command."""
        return run([peer("skopeo"), *words], self.environment)

    def referrers(self, image: str) -> list[dict[str, Any]]:
        """Returns what oras finds attached to an image."""
        answer = self.oras("discover", "--format", "json", image)
        assert answer.code == 0, answer.text
        found: list[dict[str, Any]] = answer.json()["manifests"]
        return found

    def digest(self, image: str) -> Digest:
        """Returns the digest of an image's manifest, of the bytes as skopeo reads them."""
        login = ("--authfile", str(self.docker_config / "config.json"), "--cert-dir", str(self.cert_dir))
        done = subprocess.run(
            [peer("skopeo"), "inspect", "--raw", *login, f"docker://{image}"],
            env=self.environment,
            capture_output=True,
            check=True,
            timeout=_PATIENCE_S,
        )
        return Digest.of(done.stdout)


class Box:
    """A sandbox in a folder of its own, up while the block lasts.

    Args:
        folder: Where it lives; short, because of the sockets in it.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._world = World.load(folder / "box")
        self._watcher = ExitStack()

    def __enter__(self) -> Self:
        self._watcher.enter_context(watched(self.folder))
        self._world.start(Options(self.folder / "box"))
        return self

    def __exit__(self, *_: object) -> None:
        with self._watcher:
            self._world.down()

    @cached_property
    def document(self) -> dict[str, Any]:
        """What `imagepipe sandbox status --json` prints."""
        return self._world.status()

    @property
    def trust(self) -> Path:
        """The folder with the trust files of the sandbox's Sigstore."""
        return Path(self.document["sigstore"]["trusted_root"]).parent

    @property
    def issuer(self) -> str:
        """Who vouches for identities."""
        return str(self.document["sigstore"]["issuer"])

    @property
    def identity(self) -> str:
        """Who signs."""
        return str(self.document["sigstore"]["identity"])

    @cached_property
    def harbor(self) -> Registry:
        """Harbor, as the CI robot sees it."""
        registry = self.document["registry"]
        robot = registry["users"]["ci"]
        login = robot["username"], Path(robot["password_file"]).read_text().strip()
        return Registry(registry["host"], Path(registry["ca_file"]), login, self.folder / "ci")

    def repository(self, name: str) -> str:
        """Returns a repository of the sandbox's project."""
        return f"{self.harbor.host}/{self.document['registry']['project']}/{name}"

    @property
    def environment(self) -> dict[str, str]:
        """All that imagepipe gets to know: the sandbox."""
        return {"PATH": os.environ["PATH"], "HOME": str(self.folder), **self._world.environment()}

    def imagepipe(self, *words: str, cwd: Path = ROOT, config: Path | None = None) -> Answer:
        """Runs imagepipe as this sandbox's user."""
        env = self.environment
        if config is not None:
            env["IMAGEPIPE_CONFIG"] = str(config)
        return run([sys.executable, "-m", "imagepipe", *words], env, cwd)

    def unsigned(self, name: str) -> str:
        """Builds and pushes an image that nobody has signed, and returns it pinned."""
        home = self.folder / name
        (home / "pipelines").mkdir(parents=True)
        (home / "Dockerfile").write_text("ARG BASE\nFROM $BASE\nCOPY content /content\n")
        (home / "content").write_text(name)
        pipeline = {
            "version": 1,
            "name": name,
            "project": self.document["registry"]["project"],
            "build": {"context": "..", "args": {"BASE": "{registry}/es-sandbox/base:1"}},
            "tags": ["1"],
        }
        (home / "pipelines" / f"{name}.yaml").write_text(json.dumps(pipeline))
        answer = self.imagepipe("run", name, "--no-sign", cwd=home)
        assert answer.code == 0, answer.text
        return answer.out.strip()

    def foreign_client(self, target: str) -> Path:
        """Returns a `cert_path` with a client certificate that the target does not know."""
        return self._world.foreign_client(target)

    def token(self, email: str) -> Path:
        """Returns a file with an identity token of somebody."""
        claims = {"sub": email, "email": email, "email_verified": True}
        answer = httpx.post(f"{self.issuer}/mint", json=claims, timeout=10.0, trust_env=False).raise_for_status()
        file = self.folder / f"{email}.token"
        file.write_text(answer.text)
        return file
