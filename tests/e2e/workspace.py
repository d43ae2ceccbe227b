"""A git repository with one pipeline, as a team would have it."""

import os
import subprocess
from dataclasses import dataclass
from pathlib import Path

_AUTHOR = {
    "GIT_AUTHOR_NAME": "Dana",
    "GIT_AUTHOR_EMAIL": "dana@es-sandbox.test",
    "GIT_AUTHOR_DATE": "2026-11-20T08:00:00Z",
    "GIT_COMMITTER_NAME": "Dana",
    "GIT_COMMITTER_EMAIL": "dana@es-sandbox.test",
    "GIT_COMMITTER_DATE": "2026-11-20T08:00:00Z",
    "GIT_CONFIG_GLOBAL": "/dev/null",
    "GIT_CONFIG_SYSTEM": "/dev/null",
}

PIPELINE = """\
version: 1
name: {name}
project: es-sandbox
build:
  context: {name}
  args: {{ BASE: "{{registry}}/es-sandbox/base:1" }}
tags: ["1.0", "{{branch}}-{{sha}}"]
"""

DOCKERFILE = """\
ARG BASE
FROM ${BASE}
COPY index.html /srv/
EXPOSE 8080
CMD ["httpd", "-f", "-p", "8080", "-h", "/srv"]
"""


@dataclass(frozen=True, slots=True)
class Workspace:
    """The repository of one image: `pipelines/<name>.yaml` and the context beside it."""

    folder: Path
    name: str

    @classmethod
    def make(cls, folder: Path, name: str, *, dockerfile: str = DOCKERFILE) -> "Workspace":
        """Makes the repository; the page in the image names it, so that no two images are alike."""
        made = cls(folder, name)
        made.context.mkdir(parents=True)
        made.pipeline.write_text(PIPELINE.format(name=name))
        (made.context / "Dockerfile").write_text(dockerfile)
        (made.context / "index.html").write_text(made.page)
        made.commit()
        return made

    @property
    def context(self) -> Path:
        """The folder that is built."""
        return self.folder / "pipelines" / self.name

    @property
    def pipeline(self) -> Path:
        """The pipeline's file."""
        return self.folder / "pipelines" / f"{self.name}.yaml"

    @property
    def page(self) -> str:
        """What the image serves."""
        return f"this is {self.name}\n"

    @property
    def repository(self) -> str:
        """`project/name`."""
        return f"es-sandbox/{self.name}"

    def commit(self) -> None:
        """Commits everything; the same files give the same commit."""
        for argv in (("init", "-q", "-b", "main"), ("add", "."), ("commit", "-q", "-m", "A page")):
            subprocess.run(("git", *argv), cwd=self.folder, env={**os.environ, **_AUTHOR}, check=True, timeout=20)
