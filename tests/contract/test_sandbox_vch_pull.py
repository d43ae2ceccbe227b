"""The pull algorithm, the books it keeps and the faults a test can switch on."""

import asyncio
import json
from pathlib import Path
from typing import Any

import pytest

from tests.contract.vch_doubles import HOST, Small
from tests.contract.vch_images import OCI, Built, build, file_layer, manifest_list

NAME = f"{HOST}/proj/app"
PREFIX = "Error while pulling image manifest: "
STORE_FAILED = (
    "Failed to write to image store: [POST /storage/{store_name}][500] WriteImage default  "
    "&{Code:500 Message:Failed to add disk 'scsi0:0'.}"
)


def image(text: str = "1", **more: Any) -> Built:
    return build([file_layer("base", "base"), file_layer("a", text)], **more)


def pulled(built: Built, tag: str = "1", **changes: Any) -> list[dict[str, Any]]:
    async def scene() -> list[dict[str, Any]]:
        small = Small(**changes)
        small.registry.add("proj/app", tag, built)
        return await small.pull(NAME, tag)

    return asyncio.run(scene())


def last_error(lines: list[dict[str, Any]]) -> str:
    assert lines[-1]["errorDetail"] == {"message": lines[-1]["error"]}
    return str(lines[-1]["error"])


def test_a_pull_by_tag_streams_vics_lines() -> None:
    built = image()
    base, leaf = built.layer_ids

    lines = pulled(built)

    assert lines[0] == {"status": "1: Pulling from proj/app"}
    started = [line["id"] for line in lines if line["status"] == "Pulling fs layer"]
    assert started == [base, leaf, "a3ed95caeb02", "a3ed95caeb02"]
    assert lines[-2:] == [
        {"status": f"Digest: {built.digest}"},
        {"status": "Status: Downloaded newer image for proj/app:1"},
    ]


def test_a_second_pull_is_up_to_date() -> None:
    async def scene() -> list[dict[str, Any]]:
        small = Small()
        small.registry.add("proj/app", "1", image())
        await small.pull(NAME, "1")
        return await small.pull(NAME, "1")

    lines = asyncio.run(scene())
    assert {line["status"] for line in lines[1:-2]} == {"Already exists"}
    assert lines[-1] == {"status": "Status: Image is up to date for proj/app:1"}


def test_a_pull_ends_when_its_layers_are_on_disk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    asked, sync = tmp_path / "asked", tmp_path / "sync"
    sync.write_text(f'#!/bin/sh\necho "$@" >> {asked}\n')
    sync.chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path), prepend=":")

    async def scene() -> list[dict[str, Any]]:
        small = Small(engine_data="/engine")
        small.registry.add("proj/app", "1", image())
        small.engine.pull_error = "cut off"
        await small.pull(NAME, "1")
        assert not asked.exists()  # nothing has been written yet
        small.engine.pull_error = ""
        lines = await small.pull(NAME, "1")
        await small.pull(NAME, "1")
        sync.write_text("#!/bin/sh\nexit 1\n")
        small.registry.add("proj/app", "2", image("2"))
        return [lines[-1], *await small.pull(NAME, "2")]

    whole, *cut = asyncio.run(scene())
    assert whole == {"status": "Status: Downloaded newer image for proj/app:1"}
    assert asked.read_text() == "--file-system /engine\n"
    assert last_error(cut) == STORE_FAILED


def test_the_engine_pulls_the_digest_and_not_the_tag() -> None:
    async def scene() -> tuple[Built, list[tuple[str, str]]]:
        small, built = Small(), image()
        small.registry.add("proj/app", "1", built)
        await small.pull(NAME, "1")
        return built, small.engine.pulls

    built, pulls = asyncio.run(scene())
    assert pulls == [(NAME, built.digest)]


@pytest.mark.parametrize("split", [True, False])
def test_a_pull_by_digest_is_refused_in_a_200_stream(split: bool) -> None:
    digest = image().digest

    async def scene() -> list[dict[str, Any]]:
        return await Small().pull(NAME, digest) if split else await Small().pull(f"{NAME}@{digest}")

    lines = asyncio.run(scene())
    assert lines[0] == {"status": f"{digest}: Pulling from proj/app"}
    assert last_error(lines) == PREFIX + "missing signature key"


def test_a_manifest_list_reports_the_platform_manifest() -> None:
    async def scene() -> list[dict[str, Any]]:
        small, built = Small(), image()
        small.registry.add("proj/app", "inner", built)
        small.registry.add("proj/app", "1", manifest_list(built))
        return [{"status": f"Digest: {built.digest}"}, *await small.pull(NAME, "1")]

    expected, *lines = asyncio.run(scene())
    assert expected in lines


def test_a_list_without_linux_amd64_is_an_unknown_tag() -> None:
    lines = pulled(manifest_list(image(), architecture="arm64"))

    assert last_error(lines) == "Tag 1 not found in repository proj/app"


def test_an_oci_manifest_is_refused() -> None:
    assert last_error(pulled(image(media_type=OCI))) == PREFIX + "missing signature key"


@pytest.mark.parametrize("history", [[], [{"created_by": "one"}], [{"created_by": str(i)} for i in range(3)]])
def test_a_history_that_does_not_fit_the_layers_is_refused(history: list[dict[str, Any]]) -> None:
    lines = pulled(image(history=history))

    url = f"https://{HOST}/v2/proj/app/manifests/1"
    assert last_error(lines) == f"{PREFIX}Unexpected http code: 400 (Bad Request), URL: {url}Message: manifest invalid"


@pytest.mark.parametrize(("empty", "fits"), [(88, True), (89, False)])
def test_ninety_history_entries_are_the_most(empty: int, fits: bool) -> None:
    lines = pulled(image(empty_entries=empty))

    assert lines[-1].get("error") == (None if fits else STORE_FAILED)
    assert sum(line.get("status") == "Pulling fs layer" for line in lines) == empty + 2


def test_a_policy_refusal_carries_harbors_text() -> None:
    async def scene() -> list[dict[str, Any]]:
        small = Small()
        small.registry.refused["proj/app"] = "The image is not signed in Notary."
        return await small.pull(NAME, "1.0", username="ci", password="secret")

    assert last_error(asyncio.run(scene())) == (
        f"{PREFIX}Unexpected http code: 412 (Precondition Failed), "
        f"URL: https://{HOST}/v2/proj/app/manifests/1.0Message: The image is not signed in Notary."
    )


def test_an_unknown_tag_is_named() -> None:
    async def scene() -> list[dict[str, Any]]:
        return await Small().pull(NAME, "9")

    assert last_error(asyncio.run(scene())) == "Tag 9 not found in repository proj/app"


@pytest.mark.parametrize("credentials", [{}, {"username": "ci", "password": "wrong"}])
def test_a_private_repository_denies_access(credentials: dict[str, str]) -> None:
    async def scene() -> list[dict[str, Any]]:
        small = Small()
        small.registry.private.add("proj/app")
        return await small.pull(NAME, "1", **credentials)

    assert last_error(asyncio.run(scene())) == (
        f"{PREFIX}pull access denied for {NAME}, repository does not exist or may require 'docker login'"
    )


def test_credentials_open_a_private_repository() -> None:
    async def scene() -> list[dict[str, Any]]:
        small = Small()
        small.registry.private.add("proj/app")
        small.registry.add("proj/app", "1", image())
        return await small.pull(NAME, "1", username="ci", password="secret")

    assert "error" not in asyncio.run(scene())[-1]


def test_a_challenge_with_a_space_stops_the_pull_before_its_stream() -> None:
    async def scene() -> tuple[int, str]:
        small = Small()
        small.registry.challenge_gap = " "
        response = await small.call("POST", "/images/create", params={"fromImage": NAME, "tag": "1"})
        return response.status_code, response.json()["message"]

    assert asyncio.run(scene()) == (500, "Failed to obtain OAuth endpoint: www-authenticate header is corrupted")


def test_a_registry_that_does_not_name_its_api_stops_the_pull_before_its_stream() -> None:
    async def scene() -> tuple[int, str]:
        small = Small()
        small.registry.api = ""
        response = await small.call("POST", "/images/create", params={"fromImage": NAME, "tag": "1"})
        return response.status_code, response.json()["message"]

    assert asyncio.run(scene()) == (500, "Missing Docker-Distribution-API-Version header")


def test_a_policy_hides_the_challenge_from_who_has_no_credentials() -> None:
    async def scene() -> tuple[int, str]:
        small = Small()
        small.registry.refused["proj/app"] = "The image is not signed in Notary."
        response = await small.call("POST", "/images/create", params={"fromImage": NAME, "tag": "1"})
        return response.status_code, response.json()["message"]

    token = f"https://{HOST}/service/token?service=harbor-registry"
    assert asyncio.run(scene()) == (500, f"FetchToken ({token}) failed: www-authenticate header is missing")


def test_a_pull_without_a_tag_is_a_pull_of_latest_alone() -> None:
    async def scene() -> list[dict[str, Any]]:
        small = Small()
        small.registry.add("proj/app", "latest", image())
        small.registry.add("proj/app", "1", image("other"))
        return [*await small.pull(NAME), *(await small.call("GET", "/images/json")).json()]

    first, *_, status, listed = asyncio.run(scene())
    assert first == {"status": "latest: Pulling from proj/app"}
    assert status == {"status": "Status: Downloaded newer image for proj/app:latest"}
    assert listed["RepoTags"] == [f"{NAME}:latest"]


def test_an_image_answers_to_tag_digest_and_id_and_hides_what_vic_hides() -> None:
    async def scene() -> tuple[Built, list[dict[str, Any]], dict[str, Any]]:
        small, built = Small(), image(Labels={"v": "1"})
        small.registry.add("proj/app", "1", built)
        await small.pull(NAME, "1")
        [listed] = (await small.call("GET", "/images/json")).json()
        names = [f"{NAME}:1", f"{NAME}@{built.digest}", listed["Id"], listed["Id"][:12], f"sha256:{listed['Id']}"]
        found = [(await small.call("GET", f"/images/{name}/json")).json() for name in names]
        return built, found, listed

    built, found, listed = asyncio.run(scene())
    assert all(one["Id"] == f"sha256:{listed['Id']}" for one in found)
    assert listed["Id"] not in built.config_digest
    assert found[0]["RepoDigests"] == listed["RepoDigests"] == [f"{NAME}@{built.digest}"]
    assert (found[0]["RootFS"], found[0]["Config"]["Labels"]) == ({"Type": "layers"}, {"v": "1"})
    assert found[0]["GraphDriver"] == {"Name": "vSphere Integrated Containers Backend Engine", "Data": None}
    assert "Metadata" not in found[0]


async def moved_back(small: Small) -> tuple[Built, Built]:
    """`prod` goes to one image, to another, and back."""
    old, new = image("old"), image("new")
    for built in (old, new, old):
        small.registry.add("proj/app", "prod", built)
        await small.pull(NAME, "prod")
    return old, new


@pytest.mark.parametrize("fresh", [False, True])
def test_a_tag_that_moved_back_keeps_its_stale_name(fresh: bool) -> None:
    async def scene() -> tuple[list[str], list[str], str]:
        small = Small(faults={"fresh_names": fresh})
        old, new = await moved_back(small)
        found = (await small.call("GET", f"/images/{NAME}:prod/json")).json()
        pinned = (await small.call("GET", f"/images/{NAME}@{old.digest}/json")).json()
        return found["RepoDigests"], pinned["RepoDigests"], (old if fresh else new).digest

    by_tag, by_digest, expected = asyncio.run(scene())
    assert by_tag == [f"{NAME}@{expected}"]
    assert by_digest != by_tag or fresh


def test_create_by_a_stale_tag_runs_the_old_image_and_by_digest_the_right_one() -> None:
    async def scene() -> tuple[list[str], Built, Built]:
        small = Small()
        old, new = await moved_back(small)
        for name in (f"{NAME}:prod", f"{NAME}@{old.digest}"):
            await small.call("POST", "/containers/create", json={"Image": name})
        return [created["Image"] for created in small.engine.created], old, new

    created, old, new = asyncio.run(scene())
    assert created == [new.config_digest, old.config_digest]


def test_a_tag_moved_between_the_reads_gives_layers_of_one_and_digest_of_the_other() -> None:
    async def scene() -> tuple[list[dict[str, Any]], str, Built]:
        small, old, new = Small(), image("old"), image("new")
        small.registry.add("proj/app", "1", old)
        small.registry.add("proj/app", "2", new)
        small.faults.switches["second_read"] = "2"
        lines = await small.pull(NAME, "1")
        await small.call("POST", "/containers/create", json={"Image": f"{NAME}@{new.digest}"})
        return lines, small.engine.created[0]["Image"], new if old.config_digest else old

    lines, created, new = asyncio.run(scene())
    assert {"status": f"Digest: {new.digest}"} in lines
    assert created != new.config_digest


def test_where_only_the_first_read_succeeds_the_digest_is_no_schema2_digest() -> None:
    async def scene() -> tuple[list[dict[str, Any]], list[str], int]:
        small, built = Small(faults={"second_read": "absent"}), image()
        small.registry.add("proj/app", "1", built)
        lines = await small.pull(NAME, "1")
        found = (await small.call("GET", f"/images/{NAME}:1/json")).json()
        pinned = await small.call("GET", f"/images/{NAME}@{built.digest}/json")
        return lines, found["RepoDigests"], pinned.status_code

    lines, digests, pinned = asyncio.run(scene())
    reported = lines[-2]["status"].removeprefix("Digest: ")
    assert (digests, pinned) == ([f"{NAME}@{reported}"], 404)
    assert lines[-1] == {"status": "Status: Downloaded newer image for proj/app:1"}


def test_a_digest_never_moves_to_another_image() -> None:
    async def scene() -> tuple[list[dict[str, Any]], Built]:
        small, old, new = Small(), image("old"), image("new")
        small.registry.add("proj/app", "1", old)
        small.registry.add("proj/app", "2", new)
        small.faults.switches["second_read"] = "2"
        await small.pull(NAME, "1")
        small.faults.switches["second_read"] = ""
        return await small.pull(NAME, "2"), new

    lines, new = asyncio.run(scene())
    assert last_error(lines) == (
        f"Unable to Add Image Digest({NAME}@{new.digest}): Cannot overwrite digest {new.digest}"
    )


def test_a_failed_leaf_leaves_an_image_that_is_listed_and_cannot_run_until_pulled_again() -> None:
    async def scene() -> tuple[list[dict[str, Any]], int, str, str, list[dict[str, Any]], int]:
        small = Small(faults={"leaf_write_fails": 1})
        small.registry.add("proj/app", "1", image())
        failed = await small.pull(NAME, "1")
        listed = await small.call("GET", f"/images/{NAME}:1/json")
        refused = await small.call("POST", "/containers/create", json={"Image": f"{NAME}:1"})
        repaired = await small.pull(NAME, "1")
        created = await small.call("POST", "/containers/create", json={"Image": f"{NAME}:1"})
        image_id = listed.json()["Id"].removeprefix("sha256:")
        return failed, refused.status_code, refused.json()["message"], image_id, repaired, created.status_code

    failed, status, message, image_id, repaired, created = asyncio.run(scene())
    assert last_error(failed) == STORE_FAILED
    assert (status, message) == (404, f"No such container: No such image: {image_id}")
    assert (repaired[-1], created) == ({"status": "Status: Downloaded newer image for proj/app:1"}, 201)


@pytest.mark.parametrize("switched", [True, False])
def test_a_full_disk_is_reported_in_vics_words_inside_the_stream(switched: bool) -> None:
    async def scene() -> tuple[list[dict[str, Any]], list[Any]]:
        small = Small(faults={"no_space_left": 1} if switched else {})
        small.engine.pull_error = "write /var/lib/docker/tmp/GetImageBlob1: no space left on device"
        small.registry.add("proj/app", "1", image())
        lines = await small.pull(NAME, "1")
        return lines, (await small.call("GET", "/images/json")).json()

    lines, listed = asyncio.run(scene())
    error = last_error(lines)
    assert error.startswith("proj/app/")
    assert " returned write /tmp/" in error
    assert error.endswith("no space left on device")
    assert listed == []


def test_a_create_can_find_no_image_in_the_datastore() -> None:
    async def scene() -> list[int]:
        small = Small(faults={"no_such_image": 1})
        small.registry.add("proj/app", "1", image())
        await small.pull(NAME, "1")
        answers = [await small.call("POST", "/containers/create", json={"Image": f"{NAME}:1"}) for _ in range(2)]
        assert answers[0].json()["message"].startswith("No such container: No such image: ")
        return [answer.status_code for answer in answers]

    assert asyncio.run(scene()) == [404, 201]


def test_faults_can_be_switched_in_a_file_while_it_runs(tmp_path: Path) -> None:
    async def scene() -> list[str]:
        file = tmp_path / "faults.json"
        small = Small(faults_file=str(file))
        small.registry.add("proj/app", "1", image())
        seen = []
        for text in ("{}", '{"portlayer_stopped": true}', None):
            if text is None:
                file.unlink()
            else:
                file.write_text(text)
            seen.append(str(small.faults.value("portlayer_stopped")))
        return seen

    assert asyncio.run(scene()) == ["None", "True", "None"]


def test_rmi_of_one_of_two_tags_with_one_digest_removes_the_whole_image() -> None:
    async def scene() -> tuple[list[dict[str, str]], list[Any]]:
        small = Small()
        small.registry.add("proj/app", "1", image())
        await small.pull(NAME, "1")
        await small.call("POST", f"/images/{NAME}:1/tag", params={"repo": NAME, "tag": "2"})
        removed = (await small.call("DELETE", f"/images/{NAME}:2")).json()
        return removed, (await small.call("GET", "/images/json")).json()

    removed, listed = asyncio.run(scene())
    assert {"Untagged": f"{NAME}:1"} in removed
    assert listed == []


def test_rmi_by_id_of_an_image_with_two_tags_must_be_forced() -> None:
    async def scene() -> list[int]:
        small = Small()
        small.registry.add("proj/app", "1", image())
        await small.pull(NAME, "1")
        await small.call("POST", f"/images/{NAME}:1/tag", params={"repo": NAME, "tag": "2"})
        [listed] = (await small.call("GET", "/images/json")).json()
        gentle = await small.call("DELETE", f"/images/{listed['Id'][:12]}")
        assert gentle.json()["message"] == (
            f"conflict: unable to delete {listed['Id'][:12]} (must be forced) - "
            "image is referenced in one or more repositories"
        )
        forced = await small.call("DELETE", f"/images/{listed['Id'][:12]}", params={"force": "1"})
        return [gentle.status_code, forced.status_code]

    assert asyncio.run(scene()) == [409, 200]


def test_rmi_of_one_name_among_several_tags_and_digests_loses_every_digest() -> None:
    async def scene() -> tuple[Any, Any, int]:
        small, built = Small(), image()
        for repository in ("proj/app", "proj/copy"):
            small.registry.add(repository, "1", built)
            await small.pull(f"{HOST}/{repository}", "1")
        await small.call("DELETE", f"/images/{HOST}/proj/copy:1")
        found = (await small.call("GET", f"/images/{NAME}:1/json")).json()
        pinned = await small.call("GET", f"/images/{NAME}@{built.digest}/json")
        return found["RepoTags"], found["RepoDigests"], pinned.status_code

    assert asyncio.run(scene()) == ([f"{NAME}:1"], None, 404)


def test_rmi_of_an_image_in_use_is_500() -> None:
    async def scene() -> tuple[int, str]:
        small = Small()
        small.registry.add("proj/app", "1", image())
        await small.pull(NAME, "1")
        await small.call("POST", "/containers/create", json={"Image": f"{NAME}:1"})
        response = await small.call("DELETE", f"/images/{NAME}:1")
        return response.status_code, response.json()["message"]

    status, message = asyncio.run(scene())
    assert status == 500
    assert message.startswith(f'Failed to remove image "{NAME}:1": image ')
    assert message.endswith(" in use by " + "0" * 64)


def test_the_books_survive_a_restart(tmp_path: Path) -> None:
    async def scene() -> int:
        state = str(tmp_path / "state.json")
        first, built = Small(state_file=state), image()
        first.registry.add("proj/app", "1", built)
        await first.pull(NAME, "1")
        second = Small(state_file=state)
        second.engine.images = first.engine.images
        return (await second.call("GET", f"/images/{NAME}@{built.digest}/json")).status_code

    assert asyncio.run(scene()) == 200
    assert json.loads((tmp_path / "state.json").read_text())["references"]
