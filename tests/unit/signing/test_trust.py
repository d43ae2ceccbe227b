import json
from pathlib import Path
from typing import Any

import pytest

from imagepipe.errors import SettingsError
from imagepipe.signing.trust import SigstoreTrust

FIXTURES = Path(__file__).parents[2] / "fixtures" / "signing"


def written(folder: Path, document: object) -> Path:
    path = folder / "trust.json"
    path.write_text(json.dumps(document))
    return path


def config() -> dict[str, Any]:
    return dict(json.loads((FIXTURES / "trust_config.json").read_text()))


@pytest.mark.parametrize("source", [None, "public"])
def test_without_a_file_the_public_sigstore_is_trusted(source: str | None) -> None:
    trust = SigstoreTrust.load(source)
    assert trust.document is None
    assert trust.for_signing() is None
    assert trust.without_refresh().offline


def test_a_client_trust_config_serves_signing_and_verifying() -> None:
    trust = SigstoreTrust.load(FIXTURES / "trust_config.json")
    assert trust.for_signing() == config()


def test_a_bare_trusted_root_gets_the_base_urls_that_cosign_leaves_out() -> None:
    trust = SigstoreTrust.load(FIXTURES / "trusted_root_by_cosign.json")
    assert trust.document is not None
    root = trust.document["trustedRoot"]
    assert [log["baseUrl"] for log in [*root["tlogs"], *root["ctlogs"]]] == ["", ""]
    with pytest.raises(SettingsError, match="serves verification only"):
        trust.for_signing()


def test_a_base_url_that_is_there_is_kept() -> None:
    trust = SigstoreTrust.load(FIXTURES / "trust_config.json")
    assert trust.document is not None
    assert trust.document["trustedRoot"]["tlogs"][0]["baseUrl"] == "http://127.0.0.1:15031"


def test_an_odd_list_of_logs_is_left_for_the_models_to_refuse(tmp_path: Path) -> None:
    document = config()["trustedRoot"] | {"tlogs": 7, "ctlogs": [7]}
    trust = SigstoreTrust.load(written(tmp_path, document))
    assert trust.document is not None
    assert (trust.document["trustedRoot"]["tlogs"], trust.document["trustedRoot"]["ctlogs"]) == (7, [7])


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match=r"nowhere\.json: cannot read the Sigstore trust file: No such file"):
        SigstoreTrust.load(tmp_path / "nowhere.json")


@pytest.mark.parametrize("content", ["{", "", "[" * 100_000])
def test_what_is_not_json_is_named(tmp_path: Path, content: str) -> None:
    path = tmp_path / "trust.json"
    path.write_text(content)
    with pytest.raises(SettingsError, match=r"trust\.json: the Sigstore trust file is not JSON"):
        SigstoreTrust.load(path)


@pytest.mark.parametrize(
    "document", [[], {}, {"mediaType": 7}, {"mediaType": "application/vnd.dev.sigstore.trustedroot.v9+json"}]
)
def test_an_unknown_kind_of_file_is_refused_by_name(tmp_path: Path, document: object) -> None:
    with pytest.raises(SettingsError, match=r"trust\.json: unknown kind of Sigstore trust file: mediaType") as caught:
        SigstoreTrust.load(written(tmp_path, document))
    assert "ClientTrustConfig" in str(caught.value.hint)


@pytest.mark.parametrize("part", ["trustedRoot", "signingConfig"])
def test_an_unknown_kind_inside_is_refused_by_name(tmp_path: Path, part: str) -> None:
    document = config()
    document[part]["mediaType"] = "application/vnd.example.v9+json"
    with pytest.raises(SettingsError, match=rf"trust\.json: {part} has mediaType 'application/vnd\.example\.v9\+json'"):
        SigstoreTrust.load(written(tmp_path, document))


def test_the_document_stays_out_of_the_repr() -> None:
    assert "rawBytes" not in repr(SigstoreTrust.load(FIXTURES / "trust_config.json"))
