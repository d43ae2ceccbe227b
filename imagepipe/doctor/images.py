"""Registry, image and target together: what a pull would end in, told without one.

>>> from imagepipe.doctor.images import examine_image
>>> examine_image.__name__
'examine_image'
"""

from collections.abc import Iterator, Mapping, Sequence
from typing import Final

from imagepipe.doctor.finding import Finding, Level, failed, size
from imagepipe.doctor.targets import Examined
from imagepipe.errors import ImagepipeError
from imagepipe.model import media
from imagepipe.model.host import VCH_PLATFORM, TargetKind
from imagepipe.model.manifest import ImageConfig
from imagepipe.model.reference import Reference
from imagepipe.model.vch import vch_verdicts
from imagepipe.ports import ManifestSource
from imagepipe.ports.diagnosis import OldClients
from imagepipe.subject import Subject, find_subject

__all__ = ["examine_image"]

_MEDIA: Final = "vch: media type"
# Three layers are fetched at once into the endpoint VM's /tmp, a tmpfs and so at most half of its memory, which is
# 2048 MB unless it was made with another and which it does not tell. Source: VIC v1.5.8 lib/imagec/download.go:32,
# lib/constants/install.go:19 DefaultEndpointMemoryMB; vmware/vic#2595, #8167.
_LAYERS_AT_ONCE: Final = 3
_STAGE_BYTES: Final = 1024**3
# What `uname -m` says, by the name that images use. Source: OCI image-spec v1.1 config.md (GOARCH).
_ARCHITECTURES: Final[Mapping[str, str]] = {"x86_64": "amd64", "aarch64": "arm64"}


def examine_image(
    reference: Reference, targets: Sequence[Examined], source: ManifestSource, old: OldClients
) -> Iterator[Finding]:
    """Yields what the image is, what of it a VCH would not take, and which targets can take it."""
    name = _short(reference)
    try:
        found = find_subject(reference, source)
        config = ImageConfig.parse(source.blob(found.image.repository, found.platform.config))
    except ImagepipeError as error:
        yield failed(name, "image", error)
        return
    whole = size(found.platform.size_bytes)
    yield Finding(name, "image", Level.OK, f"{found.platform.media_type}, {config.platform}, {whole} to pull")
    obstacles: dict[TargetKind, list[str]] = {TargetKind.VCH: [], TargetKind.DOCKER: []}
    if any(one.info.kind is TargetKind.VCH for one in targets):
        for finding in _for_vch(name, reference, found, config, old):
            yield finding
            if finding.level is Level.FAIL:
                obstacles[TargetKind.VCH].append(finding.check.removeprefix("vch: "))
    for one in targets:
        yield _verdict(name, one, found, [*obstacles[one.info.kind], *_at(one, found, config)])


def _for_vch(
    name: str, reference: Reference, found: Subject, config: ImageConfig, old: OldClients
) -> Iterator[Finding]:
    readable = True
    for verdict in vch_verdicts(found.manifest, found.platform, config):
        level = Level.OK if verdict.passed else Level.FAIL
        readable = readable and (verdict.passed or verdict.gate != _MEDIA)
        yield Finding(name, verdict.gate, level, verdict.reason, verdict.hint)
    biggest = sum(sorted((layer.size_bytes for layer in found.platform.layers), reverse=True)[:_LAYERS_AT_ONCE])
    if biggest > _STAGE_BYTES:
        yield Finding(
            name,
            "vch: layer sizes",
            Level.WARN,
            f"its {_LAYERS_AT_ONCE} largest layers are {size(biggest)}, which a VCH keeps in its endpoint VM's memory",
            "make layers smaller, or give the VCH more (vic-machine create --endpoint-memory)",
        )
    if readable:
        yield _schema_1(name, reference, old)


def _schema_1(name: str, reference: Reference, old: OldClients) -> Finding:
    """Returns whether the registry makes schema 1 of the image, without which every VCH fails to pull it.

    Source: VIC v1.5.8 lib/imagec/docker.go:384-414; vmware/vic#8565 (`missing signature key`).
    """
    check = "vch: schema 1"
    if reference.tag is None:
        return Finding(name, check, Level.NOTE, "not tried: a VCH pulls by tag", "name the image by a tag")
    try:
        served = old.served(reference)
    except ImagepipeError as error:
        return failed(name, check, error)
    if served == media.DOCKER_SCHEMA_1:
        return Finding(name, check, Level.OK, "the registry makes it for old clients")
    return Finding(
        name,
        check,
        Level.FAIL,
        f"asked as a VCH asks, the registry serves {served or 'nothing'}, and not the schema 1 that it reads: "
        "a pull would end in `missing signature key`",
        "let the VCH pull from the Harbor that VIC bundles: none from 2.0 on serves schema 1",
    )


def _at(one: Examined, found: Subject, config: ImageConfig) -> Iterator[str]:
    """Yields what only this target has against the image."""
    registry = found.image.repository.registry
    if not one.info.allows(registry):
        yield f"{registry} is not on its whitelist"
    left = one.facts.storage_left_bytes
    if left is not None and found.platform.size_bytes > left:
        yield f"{size(found.platform.size_bytes)} are more than the {size(left)} left of its limit"
    runs = _ARCHITECTURES.get(one.facts.architecture)
    if one.info.kind is TargetKind.DOCKER and runs is not None and config.platform.architecture != runs:
        yield f"it is {one.facts.architecture}, and the image {config.platform} (targets are given {VCH_PLATFORM})"


def _verdict(name: str, one: Examined, found: Subject, against: Sequence[str]) -> Finding:
    if against:
        hint = f"see what is said of {name}" if one.info.kind is TargetKind.VCH else "promote it elsewhere"
        return Finding(one.target.name, f"image {name}", Level.FAIL, f"cannot take it: {'; '.join(against)}", hint)
    return Finding(one.target.name, f"image {name}", Level.OK, f"nothing is known against it ({found.platform.digest})")


def _short(reference: Reference) -> str:
    return str(reference).partition("/")[2]
