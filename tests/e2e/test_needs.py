"""Images that are built on one another, with and without a push."""

import json
from collections.abc import Callable

import pytest

from tests.e2e.box import Box
from tests.e2e.cli import Cli
from tests.e2e.workspace import Workspace

pytestmark = pytest.mark.sandbox

PIPELINE = """\
version: 1
name: on-top
project: es-sandbox
needs: [below-it]
build:
  context: on-top
tags: ["1.0"]
"""


@pytest.fixture
def pair(workspace: Callable[..., Workspace]) -> Workspace:
    """The repository of `below-it`, and of `on-top` that is built on it and fails on anything else."""
    made = workspace("below-it")
    (made.folder / "pipelines" / "on-top.yaml").write_text(PIPELINE)
    above = made.context.parent / "on-top"
    above.mkdir()
    (above / "Dockerfile").write_text("ARG BELOW_IT\nFROM ${BELOW_IT}\nRUN grep -q below-it /srv/index.html\n")
    made.commit()
    return made


def test_an_image_is_built_on_the_one_that_it_needs_and_names_its_digest(pair: Workspace, box: Box, cli: Cli) -> None:
    below, above = cli.run("run", "on-top", "--json", cwd=pair.folder).ok().json()["images"]
    (provenance,) = [
        one["predicate"]
        for one in box.registry.statements("es-sandbox/on-top", above["image"].partition("@")[2])
        if one["predicateType"] == "https://slsa.dev/provenance/v1"
    ]
    assert below["image"].partition("@sha256:")[2] in json.dumps(provenance["buildDefinition"]["resolvedDependencies"])


def test_an_image_is_built_on_the_one_that_it_needs_where_nothing_is_pushed(pair: Workspace, cli: Cli) -> None:
    (pair.context / "index.html").write_text("this is below-it, and nobody has it\n")
    below, above = cli.run("run", "on-top", "--no-push", "--json", cwd=pair.folder).ok().json()["images"]
    assert (below["image"], above["image"]) == (None, None)
    (first,), (second,) = below["platforms"], above["platforms"]
    assert first["image_id"] != second["image_id"]


def test_only_what_changed_is_built_and_what_needs_it(pair: Workspace, cli: Cli) -> None:
    first = cli.run("run", "--json", cwd=pair.folder).ok().json()["images"]
    assert [one["name"] for one in first] == ["below-it", "on-top"]
    since = ("--changed-since", "HEAD", "--json")
    assert cli.run("run", *since, cwd=pair.folder).ok().json() == {"schema": "imagepipe.run/v1", "images": []}
    (pair.context / "index.html").write_text("this is below-it, edited\n")
    planned = cli.run("plan", *since, cwd=pair.folder).ok().json()["images"]
    assert [(one["name"], one["build"], one["changed"]) for one in planned] == [
        ("below-it", True, ["pipelines/below-it/index.html"]),
        ("on-top", True, []),
    ]
    again = cli.run("run", *since, cwd=pair.folder).ok().json()["images"]
    assert [one["name"] for one in again] == ["below-it", "on-top"]
    assert [one["tags"] for one in again] == [one["tags"] for one in planned]
    assert all(one["image"] != other["image"] for one, other in zip(again, first, strict=True))
