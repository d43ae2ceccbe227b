"""Containers that are switched to a promoted image, on a VCH and on an engine, and given back where that fails."""

import json
import signal
from pathlib import Path
from typing import Any

import pytest

from tests.e2e.ledger import Ledger, digest

pytestmark = pytest.mark.sandbox

DOCKERFILE = """\
ARG BASE
FROM ${BASE}
COPY index.html /srv/
ENV PAGE=/srv/index.html
STOPSIGNAL SIGKILL
CMD ["httpd", "-f", "-p", "8080", "-h", "/srv"]
"""
TARGETS = ("vch-a", "engine-a")


class Service:
    """A container `NAME` on both targets that serves the first page; a second image is there to be promoted."""

    def __init__(self, ledger: Ledger, name: str) -> None:
        self.ledger, self.name = ledger, name
        self.config = ledger.box.config({"timeouts": {"settle_s": 1}})
        (ledger.workspace.context / "Dockerfile").write_text(DOCKERFILE)
        self.one, self.two = ledger.built("one\n"), ledger.built("two\n")
        ledger.promote(self.one, *TARGETS)
        for target in TARGETS:
            options = ("--env", "LEVEL=debug", "--label", "owner=ops", "--volume", f"{name}:/state")
            network = ("--network", ledger.box.document["targets"]["vch-a"]["networks"]["public"])
            ledger.docker(target, "run", "--detach", "--name", name, *options, *network, self.one)

    def promote(self, image: str, *more: str) -> Any:
        to = [word for target in TARGETS for word in ("--to", target)]
        argv = ("promote", image, *to, "--activate", self.name, "--yes", "--json", *more)
        return self.ledger.cli.run(*argv, config=self.config)

    def inspect(self, target: str, name: str = "") -> dict[str, Any]:
        (found,) = json.loads(self.ledger.docker(target, "inspect", name or self.name))
        return dict(found)

    def names(self, target: str) -> set[str]:
        told = self.ledger.docker(target, "ps", "--all", "--format", "{{.Names}}").split()
        return {one for one in told if one.startswith(self.name)}

    def serves(self, target: str) -> str:
        return self.ledger.docker(target, "exec", self.name, "sh", "-c", "cat $PAGE")

    def runs(self, target: str, image: str) -> None:
        """Asserts that exactly one container is there, and that it runs the image."""
        assert self.names(target) == {self.name}
        found = self.inspect(target)
        assert (found["Config"]["Image"], found["State"]["Running"]) == (image, True)
        assert self.serves(target) == ("one\n" if image == self.one else "two\n")

    def remove(self) -> None:
        for target in TARGETS:
            for name in self.names(target):
                self.ledger.docker(target, "rm", "--force", name)
            self.ledger.docker(target, "volume", "rm", self.name)


@pytest.fixture
def service(ledger: Ledger, request: pytest.FixtureRequest) -> Any:
    made = Service(ledger, f"web-{len(request.node.name)}")
    yield made
    made.remove()


def activations(document: dict[str, Any]) -> list[tuple[str, str]]:
    return [(row["target"], one["outcome"]) for row in document["targets"] for one in row.get("activation", ())]


def test_containers_run_what_was_promoted_and_after_a_rollback_what_was_gone_back_to(service: Service) -> None:
    before = {target: service.inspect(target) for target in TARGETS}
    done = service.promote(service.two).ok().json()
    assert activations(done) == [("vch-a", "switched"), ("engine-a", "switched")]
    for target in TARGETS:
        service.runs(target, service.two)
        old, new = before[target], service.inspect(target)
        assert set(new["Config"]["Env"]) == set(old["Config"]["Env"])
        assert new["Config"]["Labels"]["owner"] == "ops"
        assert [(one["Name"], one["Destination"]) for one in new["Mounts"]] == [(service.name, "/state")]
        networks = [set(found["NetworkSettings"]["Networks"]) for found in (old, new)]
        assert networks[0] == networks[1]
    kept = [
        found["NetworkSettings"]["Networks"]["public"]["IPAddress"]
        for found in (before["vch-a"], service.inspect("vch-a"))
    ]
    assert kept[0] == kept[1] != ""
    record = service.ledger.record(service.two)
    assert [one["activation"][0]["outcome"] for one in record["targets"]] == ["switched", "switched"]
    assert record["targets"][0]["activation"][0]["before"] == service.one

    again = service.promote(service.two).ok().json()
    assert activations(again) == [("vch-a", "running"), ("engine-a", "running")]
    assert again["record"] == done["record"]

    on = [word for target in TARGETS for word in ("--on", target)]
    argv = ("rollback", service.ledger.repository, *on, "--activate", service.name, "--yes", "--json")
    back = service.ledger.cli.run(*argv, config=service.config).ok().json()
    assert activations(back) == [("vch-a", "switched"), ("engine-a", "switched")]
    for target in TARGETS:
        service.runs(target, service.one)


def test_an_image_that_does_not_run_gives_way_to_the_old_one_and_no_further_target_is_tried(service: Service) -> None:
    (service.ledger.workspace.context / "Dockerfile").write_text(DOCKERFILE.replace("httpd", "false"))
    bad = service.ledger.built("bad\n")
    run = service.promote(bad)
    document = run.fails(
        6,
        f"activate {service.name} on vch-a: .*exited with code 1; what ran before runs again",
        hint="-v",
        kind="refused",
        schema="imagepipe.promote/v1",
    )
    assert activations(document) == [("vch-a", "restored"), ("engine-a", "untouched")]
    assert [row["outcome"] for row in document["targets"]] == ["promoted", "promoted"]
    for target in TARGETS:
        service.runs(target, service.one)
    assert service.ledger.record(bad)["targets"][0]["activation"][0]["outcome"] == "restored"


def test_nothing_is_switched_while_one_target_lacks_the_image_or_the_container(service: Service) -> None:
    with service.ledger.box.vch_faults("vch-a", no_such_image=True):
        document = service.promote(service.two).fails(
            10, r"vch-a: .*\(held, but nothing is switched: engine-a\)", schema="imagepipe.promote/v1"
        )
    assert activations(document) == [("engine-a", "untouched")]
    for target in TARGETS:
        service.runs(target, service.one)
    argv = ("promote", service.two, "--to", "vch-a", "--activate", f"{service.name}x", "--yes", "--json")
    service.ledger.cli.run(*argv).fails(
        4, f"no container named '{service.name}x'; did you mean '{service.name}'", schema="imagepipe.promote/v1"
    )


def test_who_cuts_it_short_finds_a_service_and_the_same_command_ends_it(service: Service, tmp_path: Path) -> None:
    to = [word for target in TARGETS for word in ("--to", target)]
    argv = ("promote", service.two, *to, "--activate", service.name, "--yes", "--progress", "plain", "--json")
    service.ledger.cli.signalled(*argv, when=r"^-> activate ", number=signal.SIGINT).fails(130, "interrupted")
    for target in TARGETS:
        service.runs(target, service.one)
    killed = service.ledger.cli.signalled(*argv, when=r"^-> activate ", number=signal.SIGKILL)
    assert killed.code == -signal.SIGKILL
    assert service.names("vch-a") & {service.name, f"{service.name}.imagepipe-old"}
    # As it is when the kill comes while the new one is looked at.
    service.ledger.docker("engine-a", "rename", service.name, f"{service.name}.imagepipe-old")
    service.ledger.docker("engine-a", "stop", f"{service.name}.imagepipe-old")
    service.ledger.docker("engine-a", "run", "--detach", "--name", service.name, service.two)
    done = service.promote(service.two).ok().json()
    assert activations(done) == [("vch-a", "switched"), ("engine-a", "switched")]
    for target in TARGETS:
        service.runs(target, service.two)
    assert digest(service.two) in service.ledger.docker("engine-a", "ps", "--no-trunc", "--format", "{{.Image}}")
