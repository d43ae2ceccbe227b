"""What Harbor knows of pushed artifacts: repositories, tags, accessories, and what may not be touched.

Source: goharbor/harbor v2.15.2 src/controller/{artifact,tag}/controller.go,
src/server/middleware/{subject,cosign,blob}/.
"""

from __future__ import annotations

import functools
import json
import re
from collections.abc import Sequence
from typing import Any

from imagepipe.sandbox.harbor.manifests import FOREIGN_LAYERS, Manifest
from imagepipe.sandbox.harbor.problems import HarborError, not_found
from imagepipe.sandbox.harbor.store import Row, Store
from imagepipe.sandbox.harbor.wire import NEVER

DIGEST = re.compile(r"[a-z0-9]+(?:[.+_-][a-z0-9]+)*:[a-fA-F0-9]{32,}")
TAG = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]{0,127}")
_LEGACY_SIGNATURE = re.compile(r"sha256-([a-f0-9]{64})\.sig")


def find(store: Store, repository: str, reference: str) -> Row:
    """Returns an artifact by tag or digest.

    Raises:
        HarborError: 404, the repository or the artifact is not there.
    """
    if DIGEST.fullmatch(reference):
        row = store.one("SELECT * FROM artifacts WHERE repository_name = ? AND digest = ?", repository, reference)
        if row is None:
            raise not_found(f"artifact {repository}@{reference} not found")
        return row
    repository_id = find_repository(store, repository)["id"]
    sql = "SELECT artifact_id FROM tags WHERE repository_id = ? AND name = ?"
    row = store.one(f"SELECT * FROM artifacts WHERE id = ({sql})", repository_id, reference)  # noqa: S608 - ours
    if row is None:
        raise not_found(f"artifact {repository}:{reference} not found")
    return row


def find_repository(store: Store, name: str) -> Row:
    """Returns a repository by its full name.

    Raises:
        HarborError: 404.
    """
    row = store.one("SELECT * FROM repositories WHERE name = ?", name)
    if row is None:
        raise not_found(f"repository {name} not found")
    return row


def ensure_repository(store: Store, project: Row, name: str, now: str) -> int:
    """Returns the id of a repository, made when it is not there."""
    row = store.one("SELECT id FROM repositories WHERE name = ?", name)
    if row is not None:
        return int(row["id"])
    return store.insert("repositories", project_id=project["id"], name=name, creation_time=now, update_time=now)


def ensure_artifact(store: Store, project: Row, repository: str, manifest: Manifest, now: str) -> Row:
    """Returns the artifact of a pushed manifest, recorded when it is new.

    Raises:
        HarborError: 404, an index refers to a child that Harbor does not know.
    """
    digest = manifest.digest
    row = store.one("SELECT * FROM artifacts WHERE repository_name = ? AND digest = ?", repository, digest)
    if row is not None:
        return row
    children = [find(store, repository, child["digest"]) for child in manifest.children] if manifest.is_index else []
    parts = [child["size"] for child in children] if manifest.is_index else _sizes(store, manifest)
    artifact_id = store.insert(
        "artifacts",
        project_id=project["id"],
        repository_id=ensure_repository(store, project, repository, now),
        repository_name=repository,
        digest=digest,
        type=manifest.kind,
        media_type=manifest.artifact_media_type,
        manifest_media_type=manifest.media_type,
        artifact_type=manifest.artifact_type,
        size=len(manifest.raw) + sum(parts),
        manifest_size=len(manifest.raw),
        extra_attrs="{}",
        annotations=json.dumps(manifest.annotations),
        push_time=now,
        pull_time=NEVER,
    )
    for descriptor, child in zip(manifest.children, children, strict=False):
        store.insert(
            "children",
            parent_id=artifact_id,
            child_id=child["id"],
            child_digest=child["digest"],
            platform=json.dumps(descriptor.get("platform")),
            annotations=json.dumps(descriptor.get("annotations")),
            urls=json.dumps(descriptor.get("urls") or []),
        )
    return find(store, repository, digest)


def ensure_tag(store: Store, artifact: Row, name: str, now: str) -> None:
    """Points a tag at an artifact.

    Raises:
        HarborError: 412, the tag is immutable and points elsewhere.
    """
    row = store.one("SELECT * FROM tags WHERE repository_id = ? AND name = ?", artifact["repository_id"], name)
    if row is None:
        add_tag(store, artifact, name, now)
    elif row["artifact_id"] != artifact["id"]:
        if is_immutable(store, artifact["project_id"], artifact["repository_name"], name):
            raise HarborError("PRECONDITION", f"the tag {name} configured as immutable, cannot be updated")
        move_tag(store, row["id"], artifact["id"], now)


def add_tag(store: Store, artifact: Row, name: str, now: str) -> int:
    """Creates a tag and returns its id.

    Raises:
        sqlite3.IntegrityError: The repository has a tag of this name.
    """
    return store.insert(
        "tags",
        repository_id=artifact["repository_id"],
        artifact_id=artifact["id"],
        name=name,
        push_time=now,
        pull_time=NEVER,
    )


def move_tag(store: Store, tag_id: int, artifact_id: int, now: str) -> None:
    """Points an existing tag at another artifact."""
    store.run("UPDATE tags SET artifact_id = ?, push_time = ? WHERE id = ?", artifact_id, now, tag_id)


def _sizes(store: Store, manifest: Manifest) -> list[int]:
    """Returns the sizes of what a manifest refers to: those of schema 1 are looked up, for it tells none."""
    if not manifest.is_schema1:
        return [int(part.get("size", 0)) for part in manifest.references]
    digests = {part["digest"] for part in manifest.references}
    return [store.value("SELECT coalesce(max(size), 0) FROM blobs WHERE digest = ?", digest) for digest in digests]


def record_blobs(store: Store, project_id: int, manifest: Manifest) -> None:
    """Notes which blobs an artifact needs, and that its project holds them."""
    for descriptor in [*manifest.references, {"digest": manifest.digest, "size": len(manifest.raw)}]:
        digest = descriptor["digest"]
        foreign = descriptor.get("mediaType") in FOREIGN_LAYERS
        size = 0 if foreign else int(descriptor.get("size", 0))
        know_blob(store, digest, size, descriptor.get("mediaType", manifest.media_type))
        store.run("INSERT OR IGNORE INTO project_blobs VALUES (?, ?)", project_id, digest)
        store.run("INSERT OR IGNORE INTO artifact_blobs VALUES (?, ?)", manifest.digest, digest)


def know_blob(store: Store, digest: str, size: int, content_type: str) -> None:
    """Notes a blob; what HEAD answers depends on this table alone."""
    # A size that an upload could not tell is learnt from the manifest.
    sql = "INSERT INTO blobs VALUES (?, ?, ?) ON CONFLICT (digest) DO UPDATE SET size = excluded.size WHERE size = 0"
    store.run(sql, digest, size, content_type)


def record_accessory(store: Store, artifact: Row, subject: str, kind: str, now: str) -> None:
    """Notes that an artifact speaks of `subject`, which may come later; a second note changes nothing."""
    found = store.one(
        "SELECT id FROM artifacts WHERE repository_name = ? AND digest = ?", artifact["repository_name"], subject
    )
    store.run(
        """INSERT OR IGNORE INTO accessories (artifact_id, subject_artifact_id, subject_artifact_digest,
        subject_artifact_repo, digest, size, type, creation_time) VALUES (?, ?, ?, ?, ?, ?, ?, ?)""",
        artifact["id"],
        found["id"] if found else 0,
        subject,
        artifact["repository_name"],
        artifact["digest"],
        artifact["size"],
        kind,
        now,
    )


def adopt_accessories(store: Store, artifact: Row) -> None:
    """Gives accessories that were pushed before their subject its id."""
    store.run(
        """UPDATE accessories SET subject_artifact_id = ?
        WHERE subject_artifact_repo = ? AND subject_artifact_digest = ?""",
        artifact["id"],
        artifact["repository_name"],
        artifact["digest"],
    )


def legacy_subject(tag: str) -> str | None:
    """Returns the digest that a cosign tag (`sha256-<hex>.sig`) speaks of."""
    match = _LEGACY_SIGNATURE.fullmatch(tag)
    return f"sha256:{match[1]}" if match else None


def delete(store: Store, artifact: Row) -> list[Row]:
    """Deletes an artifact with its tags, accessories and children that nothing else needs.

    Returns:
        What the audit log speaks of: the accessories that went along, and the artifact; no children.

    Raises:
        HarborError: 412, an index refers to it, or one of its tags is immutable.
    """
    gone: list[Row] = []
    with store.transaction():
        _delete(store, artifact, gone, is_root=True)
    return gone


def _delete(store: Store, artifact: Row, gone: list[Row], *, is_root: bool) -> None:
    key = artifact["id"]
    tags = store.all("SELECT * FROM tags WHERE artifact_id = ?", key)
    if tags and not is_root:
        return
    if store.one("SELECT 1 FROM children WHERE child_id = ?", key):
        if is_root:
            raise HarborError("VIOLATE_FOREIGN_KEY_CONSTRAINT", "the deleting artifact is referenced by others")
        return
    store.run("DELETE FROM accessories WHERE artifact_id = ?", key)
    for accessory in store.all("SELECT artifact_id FROM accessories WHERE subject_artifact_id = ?", key):
        _delete_id(store, accessory["artifact_id"], gone, is_root=True)
    for child in store.all("SELECT rowid, child_id FROM children WHERE parent_id = ?", key):
        store.run("DELETE FROM children WHERE rowid = ?", child["rowid"])
        _delete_id(store, child["child_id"], gone, is_root=False)
    for tag in tags:
        delete_tag(store, artifact, tag)
    store.run("DELETE FROM artifact_labels WHERE artifact_id = ?", key)
    store.run("DELETE FROM artifacts WHERE id = ?", key)
    _release_blobs(store, artifact)
    if is_root:
        gone.append(artifact)


def _delete_id(store: Store, artifact_id: int, gone: list[Row], *, is_root: bool) -> None:
    row = store.one("SELECT * FROM artifacts WHERE id = ?", artifact_id)
    if row is not None:
        _delete(store, row, gone, is_root=is_root)


def _release_blobs(store: Store, artifact: Row) -> None:
    """Lets the project stop paying for what no other of its artifacts needs."""
    store.run(
        """DELETE FROM project_blobs WHERE project_id = ?1
        AND digest IN (SELECT digest FROM artifact_blobs WHERE artifact_digest = ?2)
        AND digest NOT IN (SELECT artifact_blobs.digest FROM artifact_blobs
          JOIN artifacts ON artifacts.digest = artifact_digest WHERE project_id = ?1)""",
        artifact["project_id"],
        artifact["digest"],
    )


def delete_tag(store: Store, artifact: Row, tag: Row) -> None:
    """Deletes one tag.

    Raises:
        HarborError: 412, it is immutable.
    """
    if is_immutable(store, artifact["project_id"], artifact["repository_name"], tag["name"]):
        raise HarborError("PRECONDITION", f"the tag {tag['name']} configured as immutable, cannot be deleted")
    store.run("DELETE FROM tags WHERE id = ?", tag["id"])


def is_immutable(store: Store, project_id: int, repository: str, tag: str) -> bool:
    """Returns whether an enabled rule of the project covers this tag."""
    short = repository.partition("/")[2]
    rows = store.all("SELECT rule FROM immutable_rules WHERE project_id = ? AND disabled = 0", project_id)
    for rule in (json.loads(row["rule"]) for row in rows):
        scopes = [each for group in (rule.get("scope_selectors") or {}).values() for each in group]
        if _selected(scopes, short) and _selected(rule.get("tag_selectors") or [], tag):
            return True
    return False


def _selected(selectors: Sequence[dict[str, Any]], name: str) -> bool:
    return all(
        (glob(selector["pattern"]).fullmatch(name) is not None) != selector["decoration"].lower().endswith("excludes")
        for selector in selectors
    )


@functools.cache
def glob(pattern: str) -> re.Pattern[str]:
    """Returns the expression of a doublestar pattern: **, *, ?, [abc] and {a,b}."""
    tokens = {"**": ".*", "*": "[^/]*", "?": "[^/]", "{": "(?:", "}": ")", ",": "|"}
    parts = re.findall(r"\*\*|\[[^\]]*\]|.", pattern)
    return re.compile("".join(part if part.startswith("[") else tokens.get(part, re.escape(part)) for part in parts))
