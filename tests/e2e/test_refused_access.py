"""Credentials, certificates and identities that do not do: exit 5, and the hint says which one it was."""

from collections.abc import Callable
from typing import Any

import pytest

from tests.e2e.box import Box
from tests.e2e.cli import Cli
from tests.e2e.workspace import Workspace

pytestmark = pytest.mark.sandbox


def test_an_expired_client_certificate_is_named(box: Box, cli: Cli, signed: str) -> None:
    cert_path = box.world.expired_client("vch-a")
    config = box.config({"targets.vch-a.cert_path": str(cert_path)})
    run = cli.run("promote", signed, "--to", "vch-a", "--yes", "--json", config=config)
    document = run.fails(
        5, rf"{cert_path}/cert\.pem expired on", hint="certificate", kind="credentials", schema="imagepipe.promote/v1"
    )
    assert [one["outcome"] for one in document["targets"]] == ["failed"]
    assert not box.host("vch-a").holds(signed)


def test_a_client_certificate_of_another_authority_is_refused_by_the_vch(box: Box, cli: Cli, signed: str) -> None:
    config = box.config({"targets.vch-a.cert_path": str(box.world.foreign_client("vch-a"))})
    run = cli.run("promote", signed, "--to", "vch-a", "--yes", "--json", config=config)
    run.fails(5, "client certificate", hint="cert.pem", kind="credentials", schema="imagepipe.promote/v1")
    assert not box.host("vch-a").holds(signed)


def test_a_client_certificate_of_another_authority_is_refused_by_an_engine(box: Box, cli: Cli, signed: str) -> None:
    config = box.config({"targets.engine-a.cert_path": str(box.world.foreign_client("engine-a"))})
    run = cli.run("promote", signed, "--to", "engine-a", "--yes", "--json", config=config)
    run.fails(5, "client certificate", hint="cert.pem", kind="credentials", schema="imagepipe.promote/v1")
    assert not box.host("engine-a").holds(signed)


def test_the_authority_of_another_target_is_not_accepted(box: Box, cli: Cli, signed: str) -> None:
    config = box.config({"targets.vch-a.cert_path": box.document["targets"]["vch-b"]["cert_path"]})
    run = cli.run("promote", signed, "--to", "vch-a", "--yes", "--json", config=config)
    run.fails(5, "its certificate is not accepted", hint="ca.pem", schema="imagepipe.promote/v1")


@pytest.mark.parametrize("command", ["run", "digest", "promote"])
def test_a_wrong_registry_password_is_told_as_such(
    box: Box, cli: Cli, signed: str, workspace: Callable[..., Workspace], command: str
) -> None:
    config = box.config({"harbor.password_file": str(box.secret_file("Wrong-Password-1"))})
    argv = {
        "run": ("run", "locked"),
        "digest": ("digest", signed),
        "promote": ("promote", signed, "--to", "vch-a", "--yes"),
    }
    run = cli.run(*argv[command], "--json", cwd=workspace("locked").folder, config=config)
    run.fails(5, box.registry.host, hint="password|credentials", kind="credentials")
    assert box.registry.tags("es-sandbox/locked") == []


def test_a_robot_that_may_only_pull_is_told_which_right_it_lacks(
    box: Box, cli: Cli, workspace: Callable[..., Workspace]
) -> None:
    access = [{"resource": "repository", "action": "pull"}]
    permissions = [{"kind": "project", "namespace": "es-sandbox", "access": access}]
    body = {"name": "reader", "level": "project", "duration": 1, "permissions": permissions}
    robot: dict[str, Any] = box.admin.api("POST", "robots", body).json()
    secret = box.secret_file(robot["secret"])
    config = box.config({"harbor.username": robot["name"], "harbor.password_file": str(secret)})
    made = workspace("readonly")
    run = cli.run("run", "readonly", "--json", cwd=made.folder, config=config)
    error = run.fails(5, "push", hint="robot create es-sandbox reader-push --can push", kind="permission")["error"]
    assert error["cause"]["kind"] == "robot_rights"
    assert box.registry.tags(made.repository) == []


def test_an_expired_identity_token_stops_a_promotion_before_any_host_is_touched(
    box: Box, cli: Cli, signed: str
) -> None:
    expired = box.token(email=box.document["sigstore"]["identity"], exp_s=-60)
    run = cli.run("promote", signed, "--to", "vch-a", "--yes", "--json", env=expired, config=box.everybody_away())
    run.fails(5, "identity token", "expired at", hint="fresh identity token", kind="identity")


def test_an_expired_identity_token_stops_a_run_before_anything_is_pushed(
    box: Box, cli: Cli, workspace: Callable[..., Workspace]
) -> None:
    made = workspace("tokenless")
    expired = box.token(email=box.document["sigstore"]["identity"], exp_s=-60)
    run = cli.run("run", "tokenless", "--json", cwd=made.folder, env=expired)
    run.fails(5, "identity token", "expired at", hint="fresh identity token", kind="identity")
    assert box.registry.tags(made.repository) == []


def test_an_identity_token_for_somebody_else_is_told_as_such(box: Box, cli: Cli, signed: str) -> None:
    elsewhere = box.token(email=box.document["sigstore"]["identity"], aud="another-service")
    cli.run("sign", signed, "--json", env=elsewhere).fails(5, "audience", hint="sigstore", kind="identity")


def test_a_guest_may_read_and_not_sign(box: Box, cli: Cli, signed: str) -> None:
    guest = box.document["registry"]["users"]["guest"]
    config = box.config({"harbor.username": guest["username"], "harbor.password_file": guest["password_file"]})
    cli.run("verify", signed, config=config).ok()
    stranger = box.token(email="gus@es-sandbox.test")
    cli.run("sign", signed, "--json", config=config, env=stranger).fails(5, "es-sandbox/signed", kind="permission")
