"""Why a push or pull is refused: the one most likely cause, and what ends it."""

from dataclasses import replace
from datetime import timedelta

import pytest

from imagepipe.access.explain import Facts, Image, explain
from imagepipe.access.facts import gather
from imagepipe.errors import PermissionRefusedError
from imagepipe.model.access import ArtifactState, Caller, Project, Right, Robot, Role
from imagepipe.ports.administration import Administration
from tests.contract.harbor_memory import NOW, MemoryHarbor
from tests.unit.access.worlds import Hiding

WEB = Image("es", "web", "1")
PULL, PUSH = Right("repository", "pull"), Right("repository", "push")
ROBOT = Robot("ci", "robot$es+ci", "es", frozenset({PUSH}), None, disabled=False)
PLAIN = ArtifactState(immutable=False, signatures=frozenset(), severity=None)
FINE = Facts(WEB, True, "dana", NOW, project=Project("es"), rights=frozenset({PULL, PUSH}))
PULLED = replace(FINE, push=False, artifact=PLAIN)


def under(facts: Facts, **settings: bool | str | int) -> Facts:
    return replace(facts, project=Project("es", settings))


@pytest.mark.parametrize(
    ("facts", "kind", "said", "fix"),
    [
        (FINE, "none", "from pushing es/web:1", "try to push it again"),
        (PULLED, "none", "from pulling es/web:1", "try to pull it again"),
        (replace(FINE, refused="log in: no", refused_hint="do so"), "credentials", "log in: no", "do so"),
        (
            replace(FINE, who="robot$ci", refused="log in: no"),
            "credentials",
            "a robot that has expired or is switched off is answered the same",
            "set harbor.password_file",
        ),
        (replace(FINE, project=None), "project_missing", "no project es that dana", "imagepipe project create es"),
        (
            replace(FINE, project=None, hidden=True),
            "no_member",
            "es exists",
            "imagepipe member add es dana --role developer",
        ),
        (
            replace(FINE, who="robot$es+ci", project=None, hidden=True, is_robot=True, said="denied"),
            "robot_rights",
            "no right to push in es that it could see",
            "imagepipe robot create es ci-push --can push",
        ),
        (
            replace(PULLED, who="robot$es+ci", project=None, hidden=True, is_robot=True),
            "robot_rights",
            "cannot see what it may do in es: whether it may pull is not known",
            "let an admin of the project run `imagepipe access why es/web:1 --as 'robot$es+ci'`",
        ),
        (
            replace(FINE, who="robot$es+ci", project=None, hidden=True, is_robot=True),
            "robot_rights",
            "whether it may push",
            "`imagepipe access why es/web:1 --push --as 'robot$es+ci'`",
        ),
        (
            replace(PULLED, who="robot$other+ci", project=None, hidden=True, is_robot=True),
            "robot_rights",
            "no right to pull in es that it could see, for it is none of es",
            "imagepipe robot create es ci-pull --can pull",
        ),
        (
            replace(FINE, robot=replace(ROBOT, disabled=True)),
            "robot_disabled",
            "robot$es+ci is switched off",
            "imagepipe robot rotate es ci --out FILE",
        ),
        (
            replace(FINE, robot=replace(ROBOT, project=None, disabled=True)),
            "robot_disabled",
            "robot$es+ci is switched off",
            "imagepipe robot rotate / ci --out FILE",
        ),
        (
            replace(FINE, robot=replace(ROBOT, expires_at=NOW - timedelta(days=1))),
            "robot_expired",
            "expired on 2026-02-28",
            "imagepipe robot rotate es ci --out FILE",
        ),
        (replace(FINE, read_only=True), "read_only", "read-only mode", "ask a system administrator"),
        (
            replace(FINE, who="robot$es+ci", robot=ROBOT, rights=frozenset({PULL})),
            "robot_rights",
            "no right to push in es",
            "imagepipe robot create es ci-push --can push --days 90 --out FILE",
        ),
        (
            replace(FINE, rights=frozenset({PULL}), role=Role.GUEST),
            "role",
            "dana is guest of es, who may not push",
            "imagepipe member set es dana --role developer",
        ),
        (
            replace(FINE, push=False, rights=frozenset(), groups=("group:devs",)),
            "no_member",
            "no member of es, unless through group:devs",
            "imagepipe member add es dana --role guest",
        ),
        (
            replace(FINE, artifact=replace(PLAIN, immutable=True)),
            "immutable",
            "tag 1 exists and is immutable",
            "imagepipe run --tag ANOTHER",
        ),
        (
            under(replace(FINE, used_bytes=95), storage_limit_bytes=100),
            "quota",
            "uses 95 of 100 bytes",
            "imagepipe project set es storage_limit_bytes=200",
        ),
        (under(PULLED, require_cosign=True), "unsigned", "without a cosign signature", "imagepipe sign es/web:1"),
        (
            under(replace(PULLED, artifact=replace(PLAIN, counts_bundles=False)), require_cosign=True),
            "unsigned",
            "there is none that this Harbor counts: ours does from Harbor 2.15 on",
            "imagepipe project set es require_cosign=false, or ask for Harbor 2.15",
        ),
        (under(PULLED, require_notation=True), "unsigned", "without a notation signature", "notation sign es/web:1"),
        (under(PULLED, prevent_vulnerable=True), "unscanned", "was not", "auto_scan=true"),
        (
            under(
                replace(PULLED, artifact=replace(PLAIN, severity="high")),
                prevent_vulnerable=True,
                max_severity="medium",
            ),
            "vulnerable",
            "severity medium or worse, and the scan found high",
            "base image",
        ),
    ],
)
def test_the_cause_is_told_with_what_ends_it(facts: Facts, kind: str, said: str, fix: str) -> None:
    cause = explain(facts)
    assert cause.kind == kind
    assert said in cause.message
    assert fix in cause.fix


@pytest.mark.parametrize(
    "facts",
    [
        replace(FINE, push=False, rights=frozenset({PUSH}), read_only=True, artifact=replace(PLAIN, immutable=True)),
        replace(FINE, rights=frozenset(), system_admin=True),
        replace(FINE, rights=None),
        replace(FINE, push=False),
        under(replace(FINE, used_bytes=10**12), storage_limit_bytes=-1),
        under(replace(FINE, used_bytes=89), storage_limit_bytes=100),
        under(replace(FINE, artifact=PLAIN), require_cosign=True, prevent_vulnerable=True),
        under(replace(PULLED, artifact=replace(PLAIN, signatures=frozenset({"cosign"}))), require_cosign=True),
        under(replace(PULLED, artifact=replace(PLAIN, severity="low")), prevent_vulnerable=True, max_severity="high"),
    ],
)
def test_what_stops_only_others_is_no_cause(facts: Facts) -> None:
    assert explain(facts).kind == "none"


FULL = (
    "adding 10.0 MiB of storage resource, which when updated to current usage of 5.0 MiB "
    "will exceed the configured upper limit of 10.0 MiB."
)
POLICY = 'cannot be pulled due to configured policy in \'Prevent images with vulnerability severity of "High" or higher'


@pytest.mark.parametrize(
    ("facts", "said", "kind", "told", "fix"),
    [
        (FINE, "DENIED: The system is in read only mode. Any", "read_only", "takes nothing", "ask a system"),
        (FINE, "due to 'web:1' configured as immutable.", "immutable", "tag 1 exists", "imagepipe run --tag"),
        (FINE, FULL, "quota", "es has no room", "imagepipe project set es storage_limit_bytes=SIZE"),
        (
            replace(FINE, used_bytes=5 * 2**20, limit_bytes=10 * 2**20),
            FULL,
            "quota",
            "uses 5242880 of 10485760 bytes",
            "storage_limit_bytes=20971520",
        ),
        (
            replace(FINE, used_bytes=0, limit_bytes=1),
            FULL.replace("10.0 MiB of", "300.0 B of"),
            "quota",
            "of 1 bytes",
            "storage_limit_bytes=300",
        ),
        (FINE, "quota exceeded: storage quota exceeds", "quota", "no room", "=SIZE"),
        (PULLED, "The image is not signed by cosign.", "unsigned", "cosign signature", "imagepipe sign es/web:1"),
        (PULLED, "The image is not signed by notation.", "unsigned", "notation", "notation sign es/web:1"),
        (PULLED, "The image is not signed in Notary.", "unsigned", "of signatures and records", "in the portal"),
        (PULLED, "Cannot get the image severity.", "unscanned", "signatures and records", "prevent_vulnerable=false"),
        (PULLED, f"current image without vulnerability scanning {POLICY}", "unscanned", "was not", "auto_scan=true"),
        (PULLED, f'with "Running" status of vulnerability scanning {POLICY}', "unscanned", "was not", "auto_scan"),
        (PULLED, f"current image with 3 vulnerabilities {POLICY}", "vulnerable", "the scan found some", "base image"),
        (
            replace(FINE, rights=frozenset({PULL}), role=Role.GUEST, used_bytes=99, limit_bytes=100),
            "denied: requested access to the resource is denied",
            "role",
            "dana is guest",
            "member set",
        ),
    ],
)
def test_what_harbor_says_in_words_of_its_own_decides(facts: Facts, said: str, kind: str, told: str, fix: str) -> None:
    cause = explain(replace(facts, said=said))
    assert cause.kind == kind
    assert told in cause.message
    assert fix in cause.fix


def test_what_harbor_has_words_for_is_no_cause_of_a_refusal_in_others() -> None:
    facts = replace(FINE, artifact=replace(PLAIN, immutable=True), used_bytes=99, limit_bytes=100)
    assert explain(facts).kind == "immutable"
    assert explain(replace(facts, said="denied")).kind == "none"


def test_a_hint_names_who_can_do_it() -> None:
    assert explain(replace(FINE, project=None)).hint == "run `imagepipe project create es`"
    told = explain(replace(FINE, rights=frozenset({PULL}), role=Role.GUEST))
    assert told.hint == "let an admin of the project run `imagepipe member set es dana --role developer`"
    refused = told.behind(PermissionRefusedError("push: denied"))
    assert isinstance(refused, PermissionRefusedError)
    assert (refused.message, refused.hint) == (f"push: denied (cause: {told.message})", told.hint)
    assert refused.cause == told.to_json() == {"kind": "role", "message": told.message, "fix": told.fix}
    assert explain(replace(FINE, read_only=True)).hint.startswith("ask a system administrator")


@pytest.fixture
def harbor() -> MemoryHarbor:
    made = MemoryHarbor(caller=Caller("lee", "user"))
    made.add_project("es", {"lee": Role.PROJECT_ADMIN, "gus": Role.GUEST, "dana@vsphere.local": Role.DEVELOPER})
    made.add_robot("ci", "es", "repository:pull", expires_at=NOW + timedelta(days=1))
    return made


def asked(admin: Administration, who: str | None, *, project: str = "es") -> Facts:
    return gather(Image(project, "web", "1"), admin, push=True, who=who, now=NOW)


def test_others_are_known_by_name_login_or_name_without_domain(harbor: MemoryHarbor) -> None:
    admin = harbor.administration()
    assert explain(asked(admin, "gus")).fix == "imagepipe member set es gus --role developer"
    assert asked(admin, "dana").who == "dana@vsphere.local"
    assert explain(asked(admin, "dana")).kind == "none"
    assert explain(asked(admin, "ci")).kind == explain(asked(admin, "robot$es+ci")).kind == "robot_rights"
    assert explain(asked(admin, "nobody")).kind == "no_member"


def test_a_project_that_is_not_there_is_told_from_one_that_is_hidden(harbor: MemoryHarbor) -> None:
    missing = explain(asked(harbor.administration(), None, project="ess"))
    assert missing.kind == "project_missing"
    assert "did you mean 'es'" in missing.message
    whole = harbor.administration()
    parts = {name: getattr(whole, name) for name in whole.__slots__}
    shut = Administration(**parts | {"projects": Hiding(harbor, {"es"})})
    assert explain(asked(shut, None)).kind == "no_member"


def test_a_harbor_that_shows_little_is_asked_little(harbor: MemoryHarbor) -> None:
    harbor.has_robots = False
    facts = asked(harbor.administration(), None)
    assert (facts.who, facts.role, facts.read_only, facts.artifact) == ("lee", Role.PROJECT_ADMIN, None, None)
