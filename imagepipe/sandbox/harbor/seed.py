"""The first rows of a new Harbor: its administrator and the project `library`.

Source: goharbor/harbor v2.15.2 make/migrations/postgresql/0001_initial_schema.up.sql.
"""

from __future__ import annotations

import secrets

from imagepipe.sandbox.harbor.store import Store, hashed, timestamp


def first_rows(store: Store, admin_password: str, now: float) -> None:
    """Fills an empty store; one that holds a user already is left as it is."""
    if store.one("SELECT 1 FROM users"):
        return
    stamp, salt = timestamp(now), secrets.token_hex(16)
    times = {"creation_time": stamp, "update_time": stamp}
    with store.transaction():
        for user_id, name in ((1, "admin"), (2, "anonymous")):
            is_admin = user_id == 1
            store.insert(
                "users",
                id=user_id,
                username=name,
                realname="system admin" if is_admin else "anonymous user",
                comment=f"{name} user",
                secret=hashed(admin_password, salt) if is_admin else "",
                salt=salt,
                sysadmin=int(is_admin),
                deleted=int(not is_admin),
                **times,
            )
        store.insert("projects", id=1, name="library", owner_id=1, **times)
        store.insert("members", project_id=1, entity_type="u", entity_id=1, role=1)
        store.insert("metadata", project_id=1, key="public", value="true")
        store.insert("quotas", project_id=1, hard=-1, **times)
