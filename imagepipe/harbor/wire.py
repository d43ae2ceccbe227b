"""What Harbor 2.x says, as far as it is used here; everything else in its answers is left alone.

Source: goharbor/harbor v2.15.2 api/v2.0/swagger.yaml; lists inside objects may be null.
"""

from datetime import datetime
from typing import Annotated, Any, TypeVar

from pydantic import BaseModel, BeforeValidator, ConfigDict, ValidationError

from imagepipe.errors import UnavailableError

__all__ = [
    "WireAccess",
    "WireArtifact",
    "WireAudit",
    "WireCreatedRobot",
    "WireGroup",
    "WireMember",
    "WirePermission",
    "WirePermissions",
    "WireProject",
    "WireQuota",
    "WireRobot",
    "WireSummary",
    "WireUser",
    "parse",
]


class Foreign(BaseModel):
    """Something that Harbor says."""

    model_config = ConfigDict(extra="ignore", frozen=True)


def _texts(value: object) -> object:
    if not isinstance(value, dict):
        return value or {}
    return {key: text for key, text in value.items() if text is not None}


Model = TypeVar("Model", bound=Foreign)
Item = TypeVar("Item")
Items = Annotated[tuple[Item, ...], BeforeValidator(lambda value: value or ())]
Texts = Annotated[dict[str, str], BeforeValidator(_texts)]
Limits = Annotated[dict[str, int], BeforeValidator(lambda value: value or {})]


class WireUser(Foreign):
    """A UserResp."""

    username: str
    sysadmin_flag: bool = False
    admin_role_in_auth: bool = False


class WireProject(Foreign):
    """A Project; metadata are texts."""

    project_id: int
    name: str
    repo_count: int = 0
    metadata: Texts = {}


class _Usage(Foreign):
    hard: Limits = {}
    used: Limits = {}


class WireSummary(Foreign):
    """A ProjectSummary; the quota shows to those who may see it."""

    repo_count: int = 0
    quota: _Usage | None = None


class _Reference(Foreign):
    id: int = 0


class WireQuota(Foreign):
    """A Quota and the project it belongs to."""

    id: int
    ref: _Reference = _Reference()
    hard: Limits = {}


class WireArtifact(Foreign):
    """An Artifact, as far as its age goes."""

    push_time: datetime | None = None


class WireMember(Foreign):
    """A ProjectMemberEntity; `entity_type` is u or g."""

    id: int
    entity_name: str
    entity_type: str
    role_id: int
    entity_id: int = 0


class WireGroup(Foreign):
    """A UserGroup; only LDAP groups have a DN."""

    id: int
    group_type: int = 0
    ldap_group_dn: str = ""


class WireAccess(Foreign):
    """One right of a robot; an empty effect allows."""

    resource: str = ""
    action: str = ""
    effect: str = ""


class WirePermission(Foreign):
    """The rights of a robot in one namespace."""

    kind: str
    namespace: str = ""
    access: Items[WireAccess] = ()


class WireRobot(Foreign):
    """A Robot; its name comes with the prefix. `duration` is in days, `expires_at` in seconds since 1970."""

    id: int
    name: str
    description: str = ""
    level: str = ""
    duration: int | None = None
    disable: bool = False
    expires_at: int = -1
    permissions: Items[WirePermission] = ()


class WireCreatedRobot(Foreign):
    """A RobotCreated: the only time that the secret shows."""

    id: int
    name: str
    secret: str
    expires_at: int = -1

    def __repr_args__(self) -> list[tuple[str | None, Any]]:
        """Returns what a repr may show: no secret."""
        return [("id", self.id), ("name", self.name)]


class WirePermissions(Foreign):
    """The rights that robots may be given; those of the system show to system administrators only."""

    project: Items[WireAccess] = ()
    system: Items[WireAccess] = ()


class WireAudit(Foreign):
    """An AuditLogExt, or an AuditLog of before 2.13, which knows no result."""

    id: int
    username: str = ""
    resource: str = ""
    resource_type: str = ""
    operation: str = ""
    operation_result: bool = True
    op_time: datetime


def parse(model: type[Model], data: object, what: str) -> Model:
    """Returns a piece of an answer as its model.

    Raises:
        UnavailableError: It has another shape; the message names the field and never its value.
    """
    try:
        return model.model_validate(data)
    except ValidationError as error:
        first = error.errors(include_input=False, include_url=False)[0]
        place = ".".join(str(part) for part in first["loc"])
        raise UnavailableError(
            f"{what}: Harbor's answer is not what its API describes: {place}: {first['msg']}",
            hint="check that harbor.url is Harbor's, and its version",
        ) from None
