"""A credential is tried where it will be used: at the registry, or where it does nothing there, at Harbor's door."""

import httpx
import pytest

from imagepipe.errors import CredentialsError
from imagepipe.model.access import Right
from imagepipe.model.result import Credential
from imagepipe.registry.proof import RegistryProof

WHO = Credential("robot$ops", "Secret1")
PULL, LIST = Right("repository", "pull"), Right("project", "list")


@pytest.mark.parametrize(
    ("project", "rights", "knocked"),
    [("es", {PULL}, False), ("es", {LIST}, True), ("", {PULL}, True), ("", {LIST}, True)],
)
def test_who_neither_pulls_nor_pushes_logs_in(project: str, rights: set[Right], knocked: bool) -> None:
    asked, let_in = list[str](), list[Credential]()

    def answer(request: httpx.Request) -> httpx.Response:
        asked.append(request.url.path)
        return httpx.Response(404, json={"errors": [{"code": "NOT_FOUND"}]})

    proof = RegistryProof("vic.example", login=let_in.append, transport=httpx.MockTransport(answer))
    proof.prove(WHO, project, rights)
    assert let_in == ([WHO] if knocked else [])
    assert asked == ([] if knocked else ["/v2/es/imagepipe-proof/tags/list"])


def test_who_is_not_let_in_is_not_proven() -> None:
    def closed(credential: Credential) -> None:
        raise CredentialsError(f"{credential.username} is not known")

    with pytest.raises(CredentialsError):
        RegistryProof("vic.example", login=closed).prove(WHO, "", {LIST})
