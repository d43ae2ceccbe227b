"""What runs, or is the way back, stays in Harbor whoever deletes; what nobody needs any more may go."""

import httpx
import pytest

from imagepipe.sandbox.probing import trusting
from tests.e2e.box import Box
from tests.e2e.cli import Cli
from tests.e2e.ledger import Ledger, digest
from tests.e2e.registry import Registry

pytestmark = pytest.mark.sandbox


@pytest.fixture
def lee(box: Box, cli: Cli) -> Cli:
    """The command line of the project's admin: a developer may not make tags immutable."""
    user = box.document["registry"]["users"]["project_admin"]
    own = {"USERNAME": user["username"], "PASSWORD_FILE": user["password_file"]}
    return Cli(cli.home, {**cli.environ, **{f"IMAGEPIPE_HARBOR__{key}": text for key, text in own.items()}}, cli.runs)


def delete(box: Box, repository: str, image: str) -> httpx.Response:
    """Deletes an image by hand, as the project's admin."""
    who = Registry(box.document["registry"], "project_admin")
    project, _, name = repository.partition("/")
    path = f"/api/v2.0/projects/{project}/repositories/{name}/artifacts/{digest(image)}"
    tls = trusting(box.layout.registry_ca)
    with httpx.Client(base_url=who.part["url"], verify=tls, timeout=20.0, trust_env=False) as client:
        return client.delete(path, auth=who.credentials)


def test_what_is_needed_cannot_be_deleted_until_nobody_needs_it(ledger: Ledger, lee: Cli) -> None:
    box, repository = ledger.box, ledger.repository
    zero = ledger.built("zero\n")
    ledger.promote(zero, "engine-a")
    ledger.docker("engine-a", "run", "--detach", "--name", "kept", zero, "sleep", "600")
    try:
        one, two = ledger.version("one\n"), ledger.version("two\n")
        for image in (one, two):
            ledger.promote(image, "engine-a")
        shown = lee.run("protect", repository).ok()
        assert f"{two}\tnot kept\tengine-a: current\n" in shown.out
        assert "add --yes" in shown.err
        done = lee.run("protect", repository, "--yes", "--json").ok().json()
        assert done["schema"] == "imagepipe.protect/v1"
        assert {(row["image"], row["state"], *(need["why"] for need in row["needs"])) for row in done["images"]} == {
            (two, "kept", "current"),
            (one, "kept", "rollback point"),
            (zero, "kept", "runs"),
        }
        for image in (zero, one, two):
            refused = delete(box, repository, image)
            assert (refused.status_code, "immutable" in refused.text) == (412, True)
        again = lee.run("protect", repository, "--yes", "--json").ok().json()
        assert (again["keep"], again["release"]) == ([], [])
        lee.run("protect", "--check", zero, "--json").fails(6, "engine-a: runs", hint="first", kind="refused")
    finally:
        ledger.docker("engine-a", "rm", "--force", "kept")
    assert lee.run("protect", "--check", zero).ok().out.strip() == zero
    assert lee.run("protect", repository, "--yes", "--json").ok().json()["release"] == [zero]
    assert delete(box, repository, zero).status_code == 200
    assert delete(box, repository, one).status_code == 412
    lee.run("verify", two).ok()


def test_while_a_target_is_away_nothing_is_let_go_of_and_nothing_called_free(ledger: Ledger, lee: Cli) -> None:
    one, two = ledger.version("one\n"), ledger.version("two\n")
    ledger.promote(one)
    lee.run("protect", ledger.repository, "--yes").ok()
    ledger.promote(two)
    away = ledger.box.config({"targets.vch-b.host": ledger.box.closed("vch-b")})
    run = lee.run("protect", ledger.repository, "--back", "0", "--yes", "--json", config=away)
    told = run.fails(10, "vch-b", hint="every target answers", kind="partial", schema="imagepipe.protect/v1")
    assert [row["target"] for row in told["away"]] == ["vch-b"]
    assert (told["keep"], told["release"]) == ([two], [])
    assert {row["image"]: row["state"] for row in told["images"]} == {one: "kept", two: "kept"}
    check = lee.run("protect", "--check", one, "--back", "0", "--json", config=away)
    check.fails(8, "not certain: vch-b is away", hint="delete nothing", kind="unavailable")


def test_who_may_not_make_tags_immutable_is_told(ledger: Ledger, cli: Cli) -> None:
    one = ledger.version("one\n")
    ledger.promote(one)
    run = cli.run("protect", ledger.repository, "--yes", "--json")
    run.fails(5, "lacks the right", hint="maintainer or admin of project es-sandbox")
    assert not [tag for tag in ledger.box.registry.tags(ledger.repository) if tag.startswith("imagepipe-keep-")]


def test_a_check_without_an_image_and_without_a_target_makes_no_sense(box: Box, cli: Cli, signed: str) -> None:
    cli.run("protect", "--check", "--json").fails(2, "wants the images", kind="usage")
    bare = box.config({"targets": {}})
    cli.run("protect", "--check", signed, "--json", config=bare).fails(3, "no target is configured", kind="settings")
