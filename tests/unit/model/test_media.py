from imagepipe.model import media


def test_every_manifest_and_index_type_is_accepted() -> None:
    accepted = media.ACCEPT_MANIFESTS.split(", ")
    assert sorted(accepted) == sorted((*media.MANIFEST_TYPES, *media.INDEX_TYPES))
