"""Builds images with the builder inside a Docker Engine, through its API.

Secrets, caches and several platforms need BuildKit, which this builder is not: it makes Docker schema 2 images, the
only kind that a VCH can pull.

>>> EngineBuilder.__name__
'EngineBuilder'
"""

import json
import re
from collections import deque
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any, Final

from imagepipe.engine.client import Call, Endpoint, quoted
from imagepipe.engine.context import check_context, pack, read_ignore_text
from imagepipe.engine.host import describe
from imagepipe.engine.labels import DOCKERFILE_NAME, ignoring, labelled
from imagepipe.engine.puller import EnginePuller
from imagepipe.engine.stream import Relay, messages
from imagepipe.errors import (
    BuildError,
    ImagepipeError,
    InputError,
    NotFoundError,
    UnavailableError,
    UnsupportedError,
)
from imagepipe.events import EventSink
from imagepipe.model.digest import Digest
from imagepipe.model.host import TargetKind
from imagepipe.model.manifest import Platform
from imagepipe.model.reference import Pinned, Reference
from imagepipe.model.result import BuildRequest, BuiltImage
from imagepipe.ports import CredentialSource

__all__ = ["EngineBuilder"]

# What people need to see of a failed step; more is in the events.
_TAIL_LINES: Final = 20
_STEP = re.compile(r"Step \d+/\d+ : ")
_NOISE = re.compile(r" ---> |Removing intermediate container ")
_COMMAND_FAILED = re.compile(r"^The command .* returned a non-zero code: \d+|^(?:ADD|COPY) failed|^failed to process")


class EngineBuilder:
    """The classic builder of one Docker Engine.

    Args:
        endpoint: The build host; never a VCH.
        credentials: Who we are at the registries that base images come from.
    """

    def __init__(self, endpoint: Endpoint, credentials: CredentialSource) -> None:
        self._endpoint = endpoint
        self._puller = EnginePuller(endpoint, credentials)
        self._version: str | None = None

    def provide(self, image: Pinned, name: Reference, sink: EventSink) -> None:
        """Makes sure that the build host knows exactly this image by that name, so that `FROM name` uses it.

        Raises:
            NotFoundError, AccessError, UnavailableError: It cannot be had.
        """
        self._check_engine()
        if not self._knows(image):
            self._puller.pull(Reference(image.repository, digest=image.digest), sink)
        params = {"repo": str(name.repository), "tag": name.tag or "latest"}
        try:
            self._endpoint.post(f"/images/{quoted(str(image))}/tag", params=params)
        except ImagepipeError as error:
            raise error.doing(f"name {image} {name} on {self._endpoint.host}") from error

    def build(self, request: BuildRequest, sink: EventSink) -> BuiltImage:
        """Builds and returns the image; build output goes to the sink as `Output` lines of step `build`.

        The engine stops and removes the running step's container when we hang up, on Ctrl-C too.
        Source: moby v20.10.24 builder/dockerfile/containerbackend.go.

        Raises:
            BuildError: The build failed; the message holds the failing step and the builder's words.
            InputError: The context or Dockerfile is missing.
            UnavailableError: The build host is away or its disk full, or it is a VCH (UnsupportedError).
        """
        check_context(request.context, request.dockerfile)
        version = self._check_engine()
        transcript = _Transcript(Relay(sink, "build", request.name))
        made = _one_label_step(request)
        sent = replace(request, dockerfile=DOCKERFILE_NAME, labels={}) if made else request
        call = Call(
            path="/build",
            params=_parameters(sent),
            headers={"Content-Type": "application/x-tar"},
            # With a Dockerfile of ours, the user's own is a file like any other: left out where .dockerignore says so.
            data=pack(request.context, sent.dockerfile, instead=made),
            silence_s=request.timeout_s,
        )
        try:
            with self._endpoint.stream(call) as chunks:
                transcript.read(messages(chunks))
            found = self._endpoint.get(f"/images/{transcript.image_id or quoted(str(request.tag))}/json")
        except InputError:
            raise
        except ImagepipeError as error:
            raise transcript.failure(request, error) from error
        _check_platform(request, found)
        image_id = transcript.image_id or Digest.parse(str(found["Id"]))
        return BuiltImage(image_id, f"docker-engine/{version} (classic)")

    def _check_engine(self) -> str:
        """Returns the engine's version once it is known to be no VCH; asks once."""
        if self._version is None:
            try:
                found = describe(self._endpoint.get("/info") or {}, self._endpoint.version())
            except ImagepipeError as error:
                raise error.doing(f"ask the build host {self._endpoint.host} what it is") from error
            if found.kind is TargetKind.VCH:
                raise UnsupportedError(
                    f"the build host {self._endpoint.host} is a Virtual Container Host, which cannot build or push",
                    hint="set build.host to a Docker Engine",
                )
            self._version = found.version
        return self._version

    def _knows(self, image: Pinned) -> bool:
        try:
            self._endpoint.get(f"/images/{quoted(str(image))}/json")
        except NotFoundError:
            return False
        return True


def _one_label_step(request: BuildRequest) -> dict[str, bytes]:
    """Returns the files that are sent so that all labels are one step; none where the engine must make them."""
    try:
        # The engine takes any bytes in comments and commands.
        text = (request.context / request.dockerfile).read_text(encoding="utf-8", errors="surrogateescape")
    except OSError as error:
        raise InputError(f"{request.context / request.dockerfile}: cannot be read: {error.strerror}") from error
    dockerfile = labelled(text, request.labels, target=request.target)
    if dockerfile is None:
        return {}
    ignore = ignoring(read_ignore_text(request.context))
    return {DOCKERFILE_NAME: dockerfile.encode(errors="surrogateescape"), ".dockerignore": ignore.encode()}


def _check_platform(request: BuildRequest, found: Mapping[str, Any]) -> None:
    """Refuses an image for another platform: `FROM` takes a local base without looking at its platform.

    Source: moby v20.10.24 builder/dockerfile/imagecontext.go.
    """
    made = Platform(str(found.get("Os") or "linux"), str(found.get("Architecture") or "unknown"))
    if not made.matches(Platform.parse(request.platform)):
        raise BuildError(
            f"build {request.name}: made an image for {made}, not for {request.platform}",
            hint="use a base image for that platform, or build it with builder: buildx",
        )


def _parameters(request: BuildRequest) -> dict[str, str]:
    """Returns the query. Source: Docker Engine API v1.41 "ImageBuild"."""
    params = {
        "t": str(request.tag),
        "dockerfile": request.dockerfile,
        "platform": request.platform,
        "buildargs": json.dumps(dict(request.args), sort_keys=True),
        "labels": json.dumps(dict(request.labels), sort_keys=True),
        # Base images come by digest from `provide`; what is there is what was meant.
        "pull": "0",
        "nocache": "0",
        "rm": "1",
        "forcerm": "1",
    }
    return {**params, "target": request.target} if request.target else params


@dataclass(slots=True)
class _Transcript:
    """What a build has said so far: enough to tell how it ended."""

    relay: Relay
    step: str = ""
    image_id: Digest | None = None
    tail: deque[str] = field(default_factory=lambda: deque(maxlen=_TAIL_LINES))

    def read(self, stream: Iterable[Mapping[str, Any]]) -> None:
        try:
            for message in stream:
                self._take(message)
        finally:
            self._keep(self.relay.flush())

    def failure(self, request: BuildRequest, error: ImagepipeError) -> ImagepipeError:
        """Returns what the error is once it is known what the builder was doing: a disk or a host, or the build."""
        where = f"build {request.name}" + (f", {self.step}" if self.step else "")
        if isinstance(error, UnavailableError | UnsupportedError) and not _COMMAND_FAILED.search(error.message):
            return error.doing(where)
        said = "\n".join(("", *self.tail)) if self.tail else ""
        return BuildError(
            f"{where}: {error.message}{said}",
            hint=f"correct {request.dockerfile} or what it copies, then build again",
        )

    def _take(self, message: Mapping[str, Any]) -> None:
        aux, text = message.get("aux"), message.get("stream")
        if isinstance(aux, Mapping) and isinstance(aux.get("ID"), str):
            self.image_id = Digest.parse(aux["ID"])
        if isinstance(text, str):
            self._keep(self.relay.output(text))
        else:
            self.relay.progress(message)

    def _keep(self, lines: tuple[str, ...]) -> None:
        for line in lines:
            if _STEP.match(line):
                self.step = line.replace("Step", "step", 1)
                self.tail.clear()
            elif line.strip() and not _NOISE.match(line):
                self.tail.append(line)
