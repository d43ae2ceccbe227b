import pytest

from imagepipe.doctor.enrol import check_name, introduce
from imagepipe.errors import CredentialsError, InputError, UnavailableError
from imagepipe.model.certificate import TlsLook
from imagepipe.model.host import HostInfo, TargetKind
from tests.contract.engine_memory import MemoryHost
from tests.unit.doctor.clinic import Clinic, Inspected, certificate


class Named(MemoryHost):
    """A host that calls itself something."""

    def info(self) -> HostInfo:
        return HostInfo(self.kind, self.name, "1", "1.25", ready=True, host_id=self.name)


def clinic(kind: TargetKind = TargetKind.VCH, name: str = "prod-a", **changes: object) -> Clinic:
    made = Clinic(kind, inspected=Inspected(**changes))  # type: ignore[arg-type] # a test names what it changes
    made.patient = Named(kind, made.registry, name=name)
    return made


def test_what_answers_is_written_down_as_what_it_is() -> None:
    found = introduce("a", "tcp://a:2376", "/certs", "prod", clinic().connect)
    assert found.settings() == {
        "kind": "vch",
        "host": "tcp://a:2376",
        "cert_path": "/certs",
        "policy": "prod",
        "pin": certificate().fingerprint,
        "id": "prod-a",
    }
    assert found.to_json()["certificate"]["names"] == ["vch-a"]


def test_without_tls_there_is_an_id_and_no_pin() -> None:
    made = clinic(TargetKind.DOCKER, look=None)
    found = introduce("a", "unix:///s", None, None, made.connect)
    assert (found.target.kind, found.target.pin, found.target.host_id) == (TargetKind.DOCKER, None, "prod-a")
    assert found.to_json()["certificate"] is None


def test_what_is_asked_of_the_host_goes_over_the_certificate_that_is_pinned() -> None:
    made, seen = clinic(), list[str | None]()

    def connect(target: object) -> object:
        seen.append(getattr(target, "pin", None))
        return made.connect(target)  # type: ignore[arg-type] # it is a target

    introduce("a", "tcp://a:2376", "/certs", None, connect)  # type: ignore[arg-type] # it passes on
    assert seen == [None, certificate().fingerprint]


@pytest.mark.parametrize("look", [TlsLook(certificate(), fault="signed by nobody", hint="x"), TlsLook(None)])
def test_a_certificate_that_is_not_good_is_not_pinned(look: TlsLook) -> None:
    with pytest.raises(CredentialsError, match=r"signed by nobody|shows no certificate"):
        introduce("a", "tcp://a:2376", "/certs", None, clinic(look=look).connect)


def test_a_host_without_a_name_cannot_be_pinned() -> None:
    with pytest.raises(UnavailableError, match="does not say what it is called"):
        introduce("a", "tcp://a:2376", "/certs", None, clinic(name="").connect)


@pytest.mark.parametrize(("host", "certificates"), [("tcp://a:2376", True), ("unix:///s", False)])
def test_a_host_that_hangs_up_may_want_tls(host: str, certificates: bool) -> None:
    made = clinic(look=None)
    made.patient = MemoryHost(TargetKind.VCH, made.registry)
    made.patient.faults.down = True
    with pytest.raises(UnavailableError) as caught:
        introduce("a", host, None, None, made.connect)
    assert ("--cert-path" in str(caught.value.hint)) is certificates


@pytest.mark.parametrize("name", ["", "env", "a b", "-a", "a" * 64, "a/b", "ä"])
def test_a_name_that_would_not_work_elsewhere_is_refused(name: str) -> None:
    with pytest.raises(InputError, match="not a name for a target"):
        check_name(name)


def test_a_usual_name_passes() -> None:
    assert check_name("prod-a.1_B") == "prod-a.1_B"
