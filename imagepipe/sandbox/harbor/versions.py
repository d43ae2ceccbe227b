"""What older Harbors have not: routes, rights of robots, and names where they take a project's number only.

Source: the API descriptions and src/common/rbac/const.go of goharbor/harbor v2.0.0 … v2.15.2; goharbor/harbor#13744
(target 2.2.0) and #13815 (target 2.3.0) for names of projects in paths; #14189 for what 2.1 says of a name.

>>> by_number("/projects/{project}/members", (2, 2)), by_number("/projects/{project}", (2, 2))
(True, False)
"""

from __future__ import annotations

from typing import Final

from imagepipe.sandbox.harbor.problems import HarborError, invalid, not_found
from imagepipe.sandbox.harbor.rbac import Permission

Release = tuple[int, int]
_ROUTES_SINCE: Final[dict[str, Release]] = {
    "/robots": (2, 2),
    "/robots/{robot}": (2, 2),
    "/permissions": (2, 10),
    "/projects/{project}/artifacts": (2, 12),
}
_NAMES_SINCE: Final[dict[str, Release]] = {"": (2, 2), "summary": (2, 2), "_deletable": (2, 2)} | dict.fromkeys(
    ("members", "metadatas", "immutabletagrules"), (2, 3)
)
_DESCRIBED_SINCE: Final = (2, 1)
"""From here on a path that names a project is bound by go-swagger; before, by beego's routes."""
_RIGHTS_CHECKED_SINCE: Final = (2, 10)
_RIGHTS_SINCE: Final[dict[str, Release]] = {"sbom": (2, 11), "quota": (2, 11)} | dict.fromkeys(
    ("robot", "member", "user", "user-group", "ldap-user"), (2, 12)
)


def has_route(route: str, release: Release) -> bool:
    """Tells whether this release serves a route."""
    return release >= _ROUTES_SINCE.get(route, (0, 0))


def has_right(right: Permission, release: Release) -> bool:
    """Tells whether this release lets robots have a right; the oldest look at none."""
    return release < _RIGHTS_CHECKED_SINCE or release >= _RIGHTS_SINCE.get(right[0], (0, 0))


def by_number(route: str, release: Release) -> bool:
    """Tells whether this release knows the project of a route by its number only."""
    below = route.removeprefix("/projects/{project}")
    return below != route and release < _NAMES_SINCE.get(below.strip("/").partition("/")[0], (0, 0))


def no_number(path: str, name: str, release: Release) -> HarborError:
    """Returns what such a release says of a name."""
    below = path.partition(f"/projects/{name}")[2].strip("/").partition("/")[0]
    if release < _DESCRIBED_SINCE or _NAMES_SINCE[below] > (2, 2):
        return not_found(f"path {path} was not found")
    return invalid(f'project_id in path must be of type int64: "{name}"')
