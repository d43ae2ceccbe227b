import pytest

from imagepipe.model.host import HostInfo, PullReport, Target, TargetKind


@pytest.mark.parametrize(("kind", "by_digest"), [("vch", False), ("docker", True)])
def test_only_a_docker_engine_pulls_by_digest(kind: str, by_digest: bool) -> None:
    assert TargetKind(kind).pulls_by_digest is by_digest


def test_a_host_allows_any_registry_unless_it_says_otherwise() -> None:
    info = HostInfo(TargetKind.VCH, "vch-a", "1.5.8", "1.25", ready=True)
    assert info.whitelist is None
    assert PullReport(None, "").layer_ids == ()
    assert Target("a", TargetKind.DOCKER, "unix:///run/docker.sock").cert_path is None
