"""Says before anything is changed what an access file asks of a Harbor that does not have it.

>>> require_supported.__name__
'require_supported'
"""

from collections.abc import Iterator, Sequence

from imagepipe.access.state import DesiredProject
from imagepipe.errors import UnsupportedError
from imagepipe.ports.administration import Administration

__all__ = ["require_supported"]


def require_supported(desired: Sequence[DesiredProject], admin: Administration) -> None:
    """Returns when this Harbor knows every role, setting and robot of the file.

    A setting that is only kept off asks for nothing.

    Raises:
        UnsupportedError: It does not; the message lists everything.
    """
    missing = [line for one in desired for line in _missing(one, admin)]
    if missing:
        raise UnsupportedError(
            f"{admin.dialect} {admin.version} cannot do what the access file asks: {'; '.join(missing)}",
            hint="take it out of the file, or use a newer Harbor",
        )


def _missing(one: DesiredProject, admin: Administration) -> Iterator[str]:
    name = one.state.name
    for who, role in one.state.members.items():
        if role not in admin.roles:
            yield f"{name}: {who} as {role} (it has {', '.join(admin.roles)})"
    for key, value in one.state.settings.items():
        if key not in admin.settings and value is not False:
            yield f"{name}: setting {key}"
    if one.state.robots and admin.robots is None:
        yield f"{name}: robots (they need Harbor ≥ 2.2)"
