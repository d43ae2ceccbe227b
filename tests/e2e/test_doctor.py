"""What the doctor finds in the sandbox, well and broken in one way each; it changes nothing."""

from pathlib import Path
from typing import Any

import pytest

from imagepipe.sandbox.pki import Authority, expired_client, foreign_client
from tests.e2e.box import Box
from tests.e2e.cli import Cli
from tests.e2e.images import hand_made

pytestmark = pytest.mark.sandbox


def examined(cli: Cli, *argv: str, config: Path | None = None, code: int = 6) -> dict[tuple[str, str], dict[str, Any]]:
    """Returns the findings by subject and check; the exit code must be this one, and agree with them."""
    run = cli.run("doctor", *argv, "--json", config=config)
    assert run.code == code, run.said
    document = run.json()
    assert document["schema"] == "imagepipe.doctor/v1"
    found = {(one["subject"], one["check"]): one for one in document["findings"]}
    broken = [one for one in found.values() if one["level"] == "fail"]
    assert document["healthy"] is (not broken) is (code == 0)
    assert all(one["hint"] for one in broken)
    return found


def test_a_well_sandbox_is_told_in_one_run_and_nothing_is_changed(box: Box, cli: Cli) -> None:
    before = [box.host(name).containers() for name in box.document["targets"]]
    found = examined(cli, code=0)
    registry = box.registry.host
    for subject in (registry, "vch-a", "vch-b", "engine-a"):
        assert found[subject, "tls"]["level"] == "ok"
        assert "days left" in found[subject, "server certificate"]["detail"]
        assert found[subject, "clock"]["detail"] == "agrees with ours"
    assert found["vch-a", "kind"]["detail"] == "vch vch-a"
    assert found["vch-a", "volume stores"]["detail"] == "default"
    assert found["vch-a", "whitelist"]["detail"] == registry
    assert found["vch-a", "networks"]["detail"] == "bridge, public"
    assert found["vch-a", "free space"]["level"] == found["engine-a", "free space"]["level"] == "note"
    assert found["vch-a", "harbor"]["level"] == "warn"
    assert "may pull and push" in found["harbor", "rights in es-sandbox"]["detail"]
    assert found["harbor", "expiry"]["level"] == "ok"
    assert "valid until" in found["signing", "identity token"]["detail"]
    assert [box.host(name).containers() for name in box.document["targets"]] == before


def test_two_names_for_one_host_are_told(box: Box, cli: Cli) -> None:
    rows = {name: box.document["targets"][name] for name in ("vch-a", "engine-a")}
    changes = {
        f"targets.{name}-too.{key}": value
        for name, row in rows.items()
        for key, value in {**{key: row[key] for key in ("kind", "host", "cert_path")}, "policy": "sandbox"}.items()
    }
    found = examined(cli, "vch-a", "vch-a-too", "engine-a", "engine-a-too", config=box.config(changes), code=0)
    assert {key for key in found if key[1] == "host"} == {("vch-a-too", "host"), ("engine-a-too", "host")}
    assert "the same name as vch-a: vch-a;" in found["vch-a-too", "host"]["detail"]
    assert "the same id as engine-a: " in found["engine-a-too", "host"]["detail"]


def test_a_target_of_another_authority_is_told_by_the_authoritys_name(box: Box, cli: Cli) -> None:
    other = box.document["targets"]["vch-b"]["cert_path"]
    names = ("vch-a", "engine-a")
    found = examined(cli, *names, "vch-b", config=box.config({f"targets.{name}.cert_path": other for name in names}))
    # The VCH refuses us in the handshake, so that its certificate cannot be had a second time, to be read.
    for name, signer in (("vch-a", "an authority"), ("engine-a", "engine-a CA")):
        assert found[name, "tls"]["detail"] == f"its certificate is signed by {signer}, which is not trusted here"
        assert "ca.pem" in found[name, "tls"]["hint"]
        assert "signed by vch-b CA" in found[name, "client certificate"]["detail"]
        assert (name, "reachable") not in found
    assert found["vch-b", "reachable"]["level"] == "ok"


@pytest.mark.parametrize("target", ["vch-a", "engine-a"])
def test_a_client_certificate_that_has_expired_or_is_foreign_is_told(
    box: Box, cli: Cli, tmp_path: Path, target: str
) -> None:
    pki = box.layout.pki(target)
    expired = box.config({f"targets.{target}.cert_path": str(expired_client(pki, tmp_path / "expired"))})
    assert "expired on" in examined(cli, target, config=expired)[target, "reachable"]["detail"]
    foreign = box.config({f"targets.{target}.cert_path": str(foreign_client(pki, tmp_path / "foreign"))})
    found = examined(cli, target, config=foreign)
    assert "refuses our client certificate" in found[target, "reachable"]["detail"]
    assert "signed by another CA" in found[target, "client certificate"]["detail"]


def test_a_registry_of_an_unknown_authority_is_one_finding_with_its_name(box: Box, cli: Cli, tmp_path: Path) -> None:
    other = Authority.create(tmp_path, "another CA").certificate_file
    found = examined(cli, "vch-a", config=box.config({"harbor.ca_file": str(other)}))
    registry = box.registry.host
    assert "signed by sandbox registry CA, which is not trusted here" in found[registry, "tls"]["detail"]
    assert "ca_file" in found[registry, "tls"]["hint"]
    assert [key for key, one in found.items() if one["level"] == "fail"] == [(registry, "tls")]


def test_a_reader_is_told_what_its_rights_are_not_enough_for(box: Box, cli: Cli) -> None:
    guest = box.document["registry"]["users"]["guest"]
    config = box.config({"harbor.username": guest["username"], "harbor.password_file": guest["password_file"]})
    box.registry.push("es-sandbox/doctor", "read", hand_made("doctor-read"))
    found = examined(cli, "engine-a", "--image", "es-sandbox/doctor:read", config=config, code=0)
    assert f", as {guest['username']}" in found["harbor", "credentials"]["detail"]
    rights = found["harbor", "rights in es-sandbox"]
    assert (rights["level"], "may pull only" in rights["detail"]) == ("warn", True)
    assert "--role developer" in rights["hint"]


def test_everything_else_is_told_although_a_file_is_gone(box: Box, cli: Cli, tmp_path: Path) -> None:
    changes: dict[str, Any] = {"signing.mode": "key", "signing.key": str(tmp_path / "gone.key")}
    changes |= {"policies.sandbox.signed_by": [{"key": str(tmp_path / "gone.pub")}]}
    found = examined(cli, "vch-a", config=box.config(changes))
    assert "gone.key" in found["signing", "identity"]["detail"]
    assert "gone.pub" in found["vch-a", "policy"]["detail"]
    assert found["vch-a", "reachable"]["level"] == "ok"


def test_what_a_vch_cannot_take_is_told_in_seconds_and_an_engine_takes_it(box: Box, cli: Cli) -> None:
    # Harbor 2.x asks the registry inside by digest, so that none of its images is served as schema 1.
    box.registry.push("es-sandbox/doctor", "plain", hand_made("doctor"))
    box.registry.push("es-sandbox/doctor", "oci", hand_made("doctor-oci", oci=True))
    box.registry.push("es-sandbox/doctor", "long", hand_made("doctor-long", history=91))
    images = [f"es-sandbox/doctor:{tag}" for tag in ("plain", "oci", "long")]
    before = box.host("vch-a").images("es-sandbox/doctor")
    found = examined(cli, "vch-a", "engine-a", *(part for image in images for part in ("--image", image)))
    said = {image: found["vch-a", f"image {image}"]["detail"] for image in images}
    assert said == {
        images[0]: "cannot take it: schema 1",
        images[1]: "cannot take it: media type; layers",
        images[2]: "cannot take it: history; schema 1",
    }
    assert "missing signature key" in found[images[0], "vch: schema 1"]["detail"]
    assert "profile: vch" in found[images[1], "vch: media type"]["hint"]
    assert "91 of at most 90" in found[images[2], "vch: history"]["detail"]
    assert [found["engine-a", f"image {image}"]["level"] for image in images] == ["ok"] * 3
    assert box.host("vch-a").images("es-sandbox/doctor") == before


def test_an_image_that_is_not_there_is_one_finding(box: Box, cli: Cli) -> None:
    found = examined(cli, "engine-a", "--image", "es-sandbox/no-such:1")
    assert [key for key, one in found.items() if one["level"] == "fail"] == [("es-sandbox/no-such:1", "image")]
