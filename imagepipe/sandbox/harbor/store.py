"""All that Harbor knows, in one SQLite file; the backend registry keeps only bytes."""

from __future__ import annotations

import hashlib
import hmac
import secrets
import sqlite3
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

Row = dict[str, Any]
SCHEMA_FILE = Path(__file__).with_name("schema.sql")
# Source: goharbor/harbor v2.15.2 src/common/utils/encrypt.go (PBKDF2, 4096 rounds, SHA-256).
PBKDF2_ROUNDS = 4096


def timestamp(now: float) -> str:
    """Returns `now` (Unix seconds) as Harbor writes times: UTC with milliseconds."""
    return datetime.fromtimestamp(now, UTC).strftime("%Y-%m-%dT%H:%M:%S.%f")[:-3] + "Z"


def seconds(stamp: str) -> float:
    """Returns the Unix seconds of a `timestamp`."""
    return datetime.strptime(stamp, "%Y-%m-%dT%H:%M:%S.%fZ").replace(tzinfo=UTC).timestamp()


def hashed(secret: str, salt: str) -> str:
    """Returns what is stored of a password or robot secret."""
    return hashlib.pbkdf2_hmac("sha256", secret.encode(), salt.encode(), PBKDF2_ROUNDS).hex()


def matches(secret: str, row: Row) -> bool:
    """Returns whether `secret` is the one stored in a user's or robot's row."""
    return hmac.compare_digest(hashed(secret, row["salt"]), row["secret"])


def new_secret() -> str:
    """Returns 32 characters that satisfy Harbor's rule for secrets."""
    alphabet = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789"
    while True:
        secret = "".join(secrets.choice(alphabet) for _ in range(32))
        if is_valid_secret(secret):
            return secret


def is_valid_secret(secret: str) -> bool:
    """Returns whether Harbor accepts this password. Source: v2.15.2 src/server/v2.0/handler/user.go."""
    kinds = (str.isupper, str.islower, str.isdigit)
    return 8 <= len(secret) <= 128 and all(any(kind(c) for c in secret if c.isascii()) for kind in kinds)


class Store:
    """A thin door to the database: rows are dicts, and every call is one short statement."""

    def __init__(self, path: Path) -> None:
        # One event loop uses it, but a test may open the app on one thread and serve it on another.
        self._db = sqlite3.connect(path, isolation_level=None, check_same_thread=False)
        path.chmod(0o600)
        self._db.row_factory = lambda cursor, row: {
            name[0]: value for name, value in zip(cursor.description, row, strict=True)
        }
        self._db.execute("PRAGMA journal_mode=WAL")
        # What a crash of this process could lose is already in the kernel; only a crash of the machine loses more.
        self._db.execute("PRAGMA synchronous=OFF")
        self._db.executescript(SCHEMA_FILE.read_text("utf-8"))

    def close(self) -> None:
        """Closes the file."""
        self._db.close()

    def one(self, sql: str, *args: Any) -> Row | None:
        """Returns the first row, or None."""
        row: Row | None = self._db.execute(sql, args).fetchone()
        return row

    def all(self, sql: str, *args: Any) -> list[Row]:
        """Returns every row."""
        return self._db.execute(sql, args).fetchall()

    def value(self, sql: str, *args: Any) -> Any:
        """Returns the first column of the first row, or None."""
        row = self.one(sql, *args)
        return None if row is None else next(iter(row.values()))

    def run(self, sql: str, *args: Any) -> int:
        """Executes one change and returns the id of an inserted row."""
        return self._db.execute(sql, args).lastrowid or 0

    def insert(self, table: str, **values: Any) -> int:
        """Inserts one row and returns its id.

        Raises:
            sqlite3.IntegrityError: A unique key is taken.
        """
        names, marks = ", ".join(values), ", ".join("?" * len(values))
        return self.run(f"INSERT INTO {table} ({names}) VALUES ({marks})", *values.values())  # noqa: S608 - names are ours

    @contextmanager
    def transaction(self) -> Iterator[None]:
        """Applies several changes together or not at all; nothing may await inside."""
        self._db.execute("BEGIN IMMEDIATE")
        try:
            yield
        except BaseException:
            self._db.execute("ROLLBACK")
            raise
        self._db.execute("COMMIT")

    def setting(self, key: str, default: str) -> str:
        """Returns a stored setting."""
        value = self.value("SELECT value FROM settings WHERE key = ?", key)
        return default if value is None else str(value)

    def set_setting(self, key: str, value: str) -> None:
        """Stores a setting."""
        self.run(
            "INSERT INTO settings VALUES (?, ?) ON CONFLICT (key) DO UPDATE SET value = excluded.value", key, value
        )

    def project(self, name_or_id: str | int) -> Row | None:
        """Returns a living project by name (str) or id (int)."""
        column = "name" if isinstance(name_or_id, str) else "id"
        return self.one(f"SELECT * FROM projects WHERE deleted = 0 AND {column} = ?", name_or_id)  # noqa: S608 - our column

    def metadata(self, project_id: int) -> dict[str, str]:
        """Returns a project's metadata, every value a string."""
        rows = self.all("SELECT key, value FROM metadata WHERE project_id = ? ORDER BY key", project_id)
        return {row["key"]: row["value"] for row in rows}

    def roles(self, project_id: int, user_id: int, groups: Sequence[int] = ()) -> list[int]:
        """Returns the role ids a user holds in a project, by itself or through its groups."""
        sql = "SELECT role FROM members WHERE project_id = ? AND entity_type = ? AND entity_id = ?"
        entities = [("u", user_id), *(("g", group) for group in groups)]
        return [row["role"] for kind, key in entities for row in self.all(sql, project_id, kind, key)]
