"""Who may do what: Harbor's role, public and robot tables, as data.

Source: goharbor/harbor v2.15.2 src/common/rbac/project/rbac_role.go, rbac_util.go, src/common/rbac/const.go,
src/common/rbac/system/policies.go.
"""

from __future__ import annotations

from typing import Final

Permission = tuple[str, str]
SELF: Final = ""
"""The project itself, as a resource."""

ROLE_NAMES: Final = {1: "projectAdmin", 2: "developer", 3: "guest", 4: "maintainer", 5: "limitedGuest"}
# Source: v2.15.2 src/server/v2.0/handler/project.go (highestRole).
ROLE_RANK: Final = (1, 4, 2, 3, 5)


def _table(text: str) -> tuple[Permission, ...]:
    """Returns (resource, action) pairs from lines of "resource action action"; "self" is the project itself."""
    rows = (line.split() for line in text.strip().splitlines())
    return tuple(
        (SELF if resource == "self" else resource, action) for resource, *actions in rows for action in actions
    )


_PROJECT_ADMIN = _table("""
self read update delete
member create read update delete list
metadata create read update delete
log list
label create read update delete list
quota read
repository create read update delete list pull push
tag-retention create read update delete list operate
immutable-tag create update delete list
configuration read update
robot create read update delete list
notification-policy create update delete list read
scan create read stop
sbom create stop read
scanner read create
artifact create read delete list
artifact-addition read
tag list create delete
accessory list
artifact-label create delete
preheat-policy create read update delete list
export-cve create read list
""")
_MAINTAINER = _table("""
self read
member read list
metadata read
quota read
label create read update delete list
repository create read update delete list push pull
tag-retention create read update delete list operate
accessory list
immutable-tag create update delete list
configuration read
robot read list
notification-policy read list
scan create read stop
sbom create stop read
scanner read
artifact create read delete list
artifact-addition read
tag list create delete
artifact-label create delete
export-cve create read list
""")
_DEVELOPER = _table("""
self read
member read list
label read list
quota read
repository create read update list push pull
tag-retention create read update delete list operate
configuration read
robot read list
scan read
sbom read
scanner read
artifact create read list
artifact-addition read
tag list create
accessory list
artifact-label create delete
export-cve create read list
""")
_GUEST = _table("""
self read
member read list
label read list
quota read
repository read list pull
configuration read
robot read list
scan read
sbom read
scanner read
tag list
accessory list
artifact read list
artifact-addition read
""")
_LIMITED_GUEST = _table("""
self read
quota read
repository list read pull
configuration read
scan read
sbom read
scanner read
tag list
accessory list
artifact read list
artifact-addition read
""")
ROLES: Final = {1: _PROJECT_ADMIN, 2: _DEVELOPER, 3: _GUEST, 4: _MAINTAINER, 5: _LIMITED_GUEST}
PUBLIC: Final = _table("""
self read
label read list
repository list pull
scan read
scanner read
tag list
artifact read list
artifact-addition read
accessory list
""")
ALL_PROJECT: Final = tuple(dict.fromkeys(permission for role in ROLES.values() for permission in role))
"""Every permission some role has, the list behind `users/current/permissions`."""

ALL_SYSTEM: Final = _table("""
catalog read
audit-log list
project create read update delete list
user create read update delete list
user-group create read update delete list
registry create read update delete list
replication create read update list delete
distribution create read update delete list
garbage-collection create read update delete list
scan-all create read update delete list stop
system-volumes read
ldap-user create list
configuration read update
jobservice-monitor read list stop
security-hub read list
""")

ROBOT_SYSTEM: Final = _table("""
audit-log list
preheat-instance read create delete list update
project list create
replication-policy read create delete list update
replication read create list
replication-adapter list
registry read create delete list update
scan-all read update stop create
system-volumes read
garbage-collection read create list update stop
purge-audit read create list update stop
jobservice-monitor list stop
scanner read create delete list update
label read create delete update
security-hub read list
catalog read
quota read list
robot create read list delete
user create read update list delete
ldap-user create list
quota update
user-group create read update list delete
""")
ROBOT_PROJECT: Final = _table("""
log list
project read delete update
metadata read create delete list update
repository read update delete list pull push
artifact read create list delete
scan create read stop
sbom create stop read
tag create list delete
accessory list
artifact-addition read
artifact-label create delete
scanner create read
preheat-policy read create delete list update
immutable-tag create delete list update
notification-policy read create delete list update
tag-retention read create delete list update
label read create delete list update
quota read
robot create read list delete
export-cve create read
member create read update list delete
""")
"""What robots may be granted; `robot:update` is in neither table, so that no robot can rotate another."""
