import pytest

from imagepipe.errors import SettingsError
from imagepipe.ports import Signer
from imagepipe.signing.late import LateSigner
from tests.contract.signing_memory import MemorySigner
from tests.contract.signing_worlds import statement
from tests.unit.promote.world import CI


def test_it_is_made_once_and_only_when_it_is_asked() -> None:
    made = list[MemorySigner]()

    def make() -> Signer:
        made.append(MemorySigner(CI))
        return made[0]

    late = LateSigner(make)
    assert made == []
    late.prepare()
    assert late.signatory() == CI
    (bundle,) = late.sign([statement()])
    assert bundle.raw
    assert len(made) == 1


def test_who_cannot_be_made_is_told_by_every_call() -> None:
    def make() -> Signer:
        raise SettingsError("no key")

    late = LateSigner(make)
    for call in (late.prepare, late.signatory, lambda: late.sign([])):
        with pytest.raises(SettingsError, match="no key"):
            call()
