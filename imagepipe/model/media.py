"""Media types, artifact types and annotation keys, each with its source."""

from typing import Final

# Source: OCI image-spec v1.1 media-types.md
OCI_MANIFEST: Final = "application/vnd.oci.image.manifest.v1+json"
OCI_INDEX: Final = "application/vnd.oci.image.index.v1+json"
OCI_EMPTY: Final = "application/vnd.oci.empty.v1+json"
# Source: distribution docs/spec/manifest-v2-2.md
DOCKER_MANIFEST: Final = "application/vnd.docker.distribution.manifest.v2+json"
DOCKER_LIST: Final = "application/vnd.docker.distribution.manifest.list.v2+json"

# Source: distribution docs/spec/manifest-v2-1.md, signed
DOCKER_SCHEMA_1: Final = "application/vnd.docker.distribution.manifest.v1+prettyjws"

# What a runtime can start; any other config makes the manifest an artifact, whose config is no image id.
# Source: OCI image-spec v1.1 manifest.md "Guidelines for Artifact Usage"; distribution docs/spec/manifest-v2-2.md
IMAGE_CONFIGS: Final = (
    "application/vnd.oci.image.config.v1+json",
    "application/vnd.docker.container.image.v1+json",
)

MANIFEST_TYPES: Final = (OCI_MANIFEST, DOCKER_MANIFEST)
INDEX_TYPES: Final = (OCI_INDEX, DOCKER_LIST)
# An OCI manifest answers 404 where its type is not accepted: always send all four.
# Source: distribution v2.8.2 registry/handlers/manifests.go
ACCEPT_MANIFESTS: Final = ", ".join((OCI_MANIFEST, OCI_INDEX, DOCKER_MANIFEST, DOCKER_LIST))

# Source: sigstore protobuf-specs bundle v0.3; cosign v3 pkg/oci/remote/write.go
SIGSTORE_BUNDLE: Final = "application/vnd.dev.sigstore.bundle.v0.3+json"
SIGSTORE_BUNDLE_PREFIX: Final = "application/vnd.dev.sigstore.bundle"
BUNDLE_CONTENT_ANNOTATION: Final = "dev.sigstore.bundle.content"
BUNDLE_PREDICATE_ANNOTATION: Final = "dev.sigstore.bundle.predicateType"
# Source: cosign specs/SIGNATURE_SPEC.md
COSIGN_SIMPLE_SIGNING: Final = "application/vnd.dev.cosign.simplesigning.v1+json"
# Source: in-toto attestation spec v1 "envelope"
IN_TOTO_PAYLOAD: Final = "application/vnd.in-toto+json"

# Source: OCI image-spec v1.1 annotations.md
CREATED_ANNOTATION: Final = "org.opencontainers.image.created"
