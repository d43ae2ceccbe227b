"""Groups of a Harbor 2.x: which kind there is, how a request names one, and which one a DN means.

Source: goharbor/harbor v2.15.2 src/controller/member/controller.go, src/pkg/usergroup/manager.go: LDAP groups are kept
by their DN in lower case, and listed by their name, or by the DN where another group has that name.

>>> same_dn("CN=Devs, OU=groups", "cn=devs,ou=groups")
True
"""

import re
from collections.abc import Mapping
from typing import Final

from imagepipe.errors import UnsupportedError
from imagepipe.harbor.paging import Listing, every
from imagepipe.harbor.v2.session import Session
from imagepipe.harbor.wire import WireGroup, parse
from imagepipe.model.access import Principal, PrincipalKind

__all__ = ["Groups", "first_value", "same_dn"]

# Source: goharbor/harbor v2.15.2 src/common/const.go (LDAPGroupType, HTTPGroupType, OIDCGroupType)
_TYPES: Final[Mapping[str, int]] = {"ldap_auth": 1, "http_auth": 2, "oidc_auth": 3}
_LDAP: Final = _TYPES["ldap_auth"]
# Source: RFC 4514 section 2.3: type=value, and a backslash before what would end it
_FIRST: Final = re.compile(r"\s*[A-Za-z][A-Za-z0-9-]*\s*=\s*((?:\\.|[^,\\])+?)\s*(?:,|$)")
_ROUND: Final = re.compile(r"\s*(?<!\\)([,=+])\s*")


class Groups:
    """What one Harbor knows of groups."""

    def __init__(self, session: Session) -> None:
        self._session = session

    def by_dn(self, principal: Principal) -> bool:
        """Tells whether a principal is an LDAP group that is named by its DN."""
        return (
            principal.kind is PrincipalKind.GROUP
            and self._session.auth_mode == "ldap_auth"
            and _FIRST.match(principal.name) is not None
        )

    def entity(self, principal: Principal, what: str) -> dict[str, object]:
        """Returns how a request names a group.

        Raises:
            UnsupportedError: This Harbor has no groups.
        """
        kind = _TYPES.get(self._session.auth_mode)
        if kind is None:
            raise UnsupportedError(
                f"{what}: this Harbor has no groups, as it keeps its users itself ({self._session.auth_mode})",
                hint="add the users one by one, or ask for LDAP or OIDC",
            )
        key = "ldap_group_dn" if self.by_dn(principal) else "group_name"
        return {"member_group": {key: principal.name, "group_type": kind}}

    def hint_when_broken(self, principal: Principal) -> str | None:
        """Returns what to try when adding a member keeps failing with 500, or None when nothing is known.

        Source: goharbor/harbor v2.15.2 src/core/auth/ldap/ldap.go (SearchGroup): a directory's "no such object" and
        text that is no DN become plain errors, and so 500.
        """
        if principal.kind is PrincipalKind.USER or self._session.auth_mode != "ldap_auth":
            return None
        return "check the group's DN: Harbor breaks so on one that its directory does not have"

    def numbers(self, dn: str, what: str) -> frozenset[int] | None:
        """Returns the ids of the LDAP group with that DN, none or one; None where we may not know DNs."""
        if not self._session.caller.system_admin:
            return None
        rows = every(self._session.client, Listing("/usergroups", what))
        groups = (parse(WireGroup, row, what) for row in rows)
        return frozenset(group.id for group in groups if group.group_type == _LDAP and same_dn(group.ldap_group_dn, dn))


def first_value(dn: str) -> str:
    r"""Returns the value of a DN's first part, which mostly is the group's name; the text itself when it is no DN.

    >>> first_value(r"cn=Devs\, all,ou=groups")
    'Devs, all'
    """
    found = _FIRST.match(dn)
    return re.sub(r"\\(.)", r"\1", found[1]) if found else dn


def same_dn(one: str, other: str) -> bool:
    """Tells whether two DNs differ in case and blanks only, as directories take them."""
    return _plain(one) == _plain(other)


def _plain(dn: str) -> str:
    return _ROUND.sub(r"\1", dn.strip()).casefold()
