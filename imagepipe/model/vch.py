"""What an image must be for a VCH, which would only answer with a cryptic error in its pull stream.

>>> vch_verdicts.__name__
'vch_verdicts'
"""

from collections.abc import Iterator
from typing import Final

from imagepipe.model import media
from imagepipe.model.host import VCH_MAX_HISTORY, VCH_PLATFORM
from imagepipe.model.manifest import ImageConfig, Index, Manifest
from imagepipe.model.promotion import GateVerdict

__all__ = ["vch_verdicts"]

# gzip is what a VCH unpacks. Source: VIC v1.5.8 lib/imagec (docker 1.13 archive); zstd came to Docker later.
_LAYER_TYPE: Final = "application/vnd.docker.image.rootfs.diff.tar.gzip"


def vch_verdicts(manifest: Manifest | Index, platform: Manifest, config: ImageConfig) -> Iterator[GateVerdict]:
    """Yields whether a VCH can pull and run an image, one verdict for each thing that it demands.

    Args:
        manifest: The image, or the index that it is in.
        platform: Its manifest for a VCH's platform.
        config: The config of that manifest.
    """
    yield _verdict(
        "vch: media type",
        platform.media_type == media.DOCKER_MANIFEST
        and (isinstance(manifest, Manifest) or manifest.media_type == media.DOCKER_LIST),
        f"{manifest.media_type}",
        "a VCH pulls Docker schema 2 only: build with profile: vch",
    )
    odd = sorted({layer.media_type for layer in platform.layers} - {_LAYER_TYPE})
    yield _verdict(
        "vch: layers", not odd, ", ".join(odd) or "gzip", "a VCH unpacks gzip layers only: build with profile: vch"
    )
    yield _verdict(
        "vch: platform",
        str(config.platform) == VCH_PLATFORM,
        str(config.platform),
        f"a VCH runs {VCH_PLATFORM} only",
    )
    yield _verdict(
        "vch: history",
        config.history_entries <= VCH_MAX_HISTORY,
        f"{config.history_entries} of at most {VCH_MAX_HISTORY} history entries",
        "a VCH counts every Dockerfile step: join RUN, ENV and LABEL steps, or start from a base with fewer",
    )
    yield _verdict(
        "vch: layer history",
        config.history_entries > 0 and config.history_layers == len(platform.layers),
        f"{config.history_layers} history entries for {len(platform.layers)} layers",
        "the image's history does not match its layers: build it with docker build rather than importing it",
    )


def _verdict(gate: str, passed: bool, reason: str, hint: str) -> GateVerdict:
    return GateVerdict(gate, passed=passed, reason=reason, hint=None if passed else hint)
