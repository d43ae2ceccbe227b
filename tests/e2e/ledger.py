"""One repository with versions, and an operator who moves them about."""

import subprocess
from typing import Any

from tests.e2e.box import Box
from tests.e2e.cli import Cli
from tests.e2e.images import hand_made
from tests.e2e.workspace import Workspace

DOCKERFILE = """\
ARG BASE
FROM ${BASE}
COPY index.html /srv/
CMD ["cat", "/srv/index.html"]
"""


class Ledger:
    """One repository with versions that really run, and an operator who moves them about."""

    def __init__(self, box: Box, cli: Cli, workspace: Workspace) -> None:
        self.box, self.cli, self.workspace = box, cli, workspace

    @property
    def repository(self) -> str:
        return self.workspace.repository

    def version(self, text: str) -> str:
        """Pushes and signs an image that nobody runs, at tag 1.0, and returns its pinned reference."""
        pinned = self.box.registry.push(self.repository, "1.0", hand_made(f"{self.repository} {text}"))
        self.cli.run("sign", pinned).ok()
        return pinned

    def built(self, page: str) -> str:
        """Builds, pushes and signs an image that prints the page, and returns its pinned reference."""
        (self.workspace.context / "index.html").write_text(page)
        self.workspace.commit()
        return self.cli.run("run", self.workspace.name, cwd=self.workspace.folder).ok().out.strip()

    def promote(self, image: str, *targets: str, more: tuple[str, ...] = ()) -> dict[str, Any]:
        to = [word for target in targets or ("vch-a",) for word in ("--to", target)]
        return self.cli.run("promote", image, *to, "--yes", "--json", *more).ok().json()

    def rollback(self, *argv: str, targets: tuple[str, ...] = ("vch-a",)) -> dict[str, Any]:
        on = [word for target in targets for word in ("--on", target)]
        return self.cli.run("rollback", self.repository, *on, "--yes", "--json", *argv).ok().json()

    def history(self, name: str = "") -> dict[str, Any]:
        return self.cli.run("history", name or self.repository, "--json").ok().json()

    def record(self, image: str) -> dict[str, Any]:
        """Returns the newest record at an image, read without imagepipe."""
        records = self.box.registry.records(self.repository, digest(image))
        return max(records, key=lambda one: max(target["sequence"] for target in one["targets"]))

    def run_on(self, target: str, image: str) -> str:
        """Returns what `docker run` of an image prints on a target."""
        return self.docker(target, "run", "--rm", image)

    def docker(self, target: str, *words: str) -> str:
        """Returns what the docker command prints on a target."""
        row = self.box.document["targets"][target]
        files = {"--tlscacert": "ca.pem", "--tlscert": "cert.pem", "--tlskey": "key.pem"}
        certificates = [f"{flag}={row['cert_path']}/{file}" for flag, file in files.items()]
        line = ("docker", "--host", row["host"], "--tlsverify", *certificates, *words)
        environ = {"PATH": "/usr/bin:/bin:/usr/sbin:/sbin", "DOCKER_API_VERSION": "1.25"}
        done = subprocess.run(line, env=environ, capture_output=True, text=True, timeout=60, check=False)
        assert done.returncode == 0, done.stderr
        return done.stdout


def digest(pinned: str) -> str:
    """Returns the digest of a pinned reference."""
    return pinned.partition("@")[2]
