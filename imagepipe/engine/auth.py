"""How a host speaks to a registry in our name.

>>> auth_header(None, "vic.example")
{'X-Registry-Auth': 'e30='}
"""

import base64
import json
from typing import Final

from imagepipe.model.result import Credential

__all__ = ["ANONYMOUS", "AUTH", "auth_header"]

AUTH: Final = "X-Registry-Auth"
# dockerd refuses a push without the header, and takes an empty object for nobody.
# Source: moby v20.10.24 api/server/router/image/image_routes.go postImagesPush.
ANONYMOUS: Final = "e30="
# What credential helpers put in place of a user name. Source: docker-credential-helpers README "identity token".
_TOKEN_USER: Final = "<token>"  # noqa: S105 - the name of a kind of credential, not one


def auth_header(credential: Credential | None, registry: str) -> dict[str, str]:
    """Returns the header by which a host speaks to the registry in our name.

    Source: moby v20.10.24 api/types/auth.go; a VCH reads `username` and `password` only (VIC v1.5.8
    image_routes.go), so an identity token works on engines only.
    """
    if credential is None:
        return {AUTH: ANONYMOUS}
    if credential.username == _TOKEN_USER:
        content = {"identitytoken": credential.password, "serveraddress": registry}
    else:
        content = {"username": credential.username, "password": credential.password, "serveraddress": registry}
    # Source: moby api/types/registry/authconfig.go EncodeAuthConfig, base64.URLEncoding
    return {AUTH: base64.urlsafe_b64encode(json.dumps(content).encode()).decode()}
