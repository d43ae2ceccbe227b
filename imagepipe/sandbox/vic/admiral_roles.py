"""The role part of PATCH: every id is looked up first, groups are written at once and users a little later.

Source: vmware/admiral vic_v1.5.6 auth/src/main/java/com/vmware/admiral/auth/project/ProjectRolesHandler.java:63-330,
auth/…/util/UserGroupsUpdater.java:131-187.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from typing import Any

from imagepipe.sandbox.harbor.store import Row
from imagepipe.sandbox.vic.admiral_call import Call, XenonError, encoded
from imagepipe.sandbox.vic.admiral_state import LISTS

Assignment = tuple[str, str, str]
"""List, `add` or `remove`, and the id as it was sent."""


def check_roles(call: Call, body: Mapping[str, Any]) -> dict[Assignment, str]:
    """Returns the type of every principal in a body: one that is unknown fails all.

    Raises:
        XenonError: 400, or 500 as PSC may say it.
    """
    types = {}
    for where in LISTS:
        asked = body.get(where) or {}
        if not isinstance(asked, dict):
            continue  # a list of principals, as expanded states show them, is no assignment
        for verb in ("add", "remove"):
            for own in asked.get(verb) or ():
                row = call.state.people.find(own)
                if row is None:
                    raise _unknown(call, own)
                types[where, verb, own] = row["type"]
    return types


def _unknown(call: Call, own: str) -> XenonError:
    if call.switches.unknown_status == 500:
        return XenonError(500, "Principal does not exist!")
    return XenonError(400, f"Service not found: /auth/idm/principals/{encoded(own)}", stack=False)


def set_roles(call: Call, row: Row, types: Mapping[Assignment, str]) -> None:
    """Writes roles: those of users after the answer has gone out."""
    link, state = row["link"], call.state
    before = {each["id"] for each in state.held(link, "administrators", "GROUP")}
    for (where, verb, own), type_ in types.items():
        if type_ == "USER":
            write = state.assign if verb == "add" else state.unassign
            # The id as it was sent: another spelling is another user document, which no login ever finds.
            asyncio.get_running_loop().call_later(call.switches.write_delay_s, write, link, where, own, type_)
        elif verb == "remove":
            state.unassign(link, where, own.lower(), type_)
        elif where == "members" and own.lower() in before:
            continue  # lost when it leaves the administrators in the same PATCH
        else:
            state.assign(link, where, own.lower(), type_)
