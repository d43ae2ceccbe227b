from collections.abc import Mapping
from datetime import UTC, date, datetime
from pathlib import Path

import pytest

from imagepipe.errors import InputError, NotFoundError, SettingsError
from imagepipe.model.evidence import Approvals, BuildSource, Freeze, Identity, PublicKey, Soak
from imagepipe.model.host import Target, TargetKind
from imagepipe.model.result import Credential
from imagepipe.model.scan import Waiver
from imagepipe.settings import Settings, load_settings, origins

FULL = """\
registry = "vic.example"

[harbor]
username = "robot$es+ci"
password_file = "secrets/harbor"
ca_file = "certs/ca.crt"

[signing]
trust_config = "sigstore/trust.json"

[targets.prod-a]
kind = "vch"
host = "tcp://vch-a:2376"
cert_path = "~/.vch/prod-a"
policy = "prod"

[policies.prod]
signed_by = [{ identity = "a@example.com", issuer = "https://issuer.example" }, { key = "keys/ci.pub" }]
max_severity = "high"
require_provenance = true
"""


class Home:
    """A home, a project below it with a folder to work in, and an environment."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.project = folder / "project"
        self.cwd = self.project / "deep" / "down"
        self.cwd.mkdir(parents=True)
        self.environ = {"HOME": str(folder)}

    def write(self, text: str, *, at: str = "project/imagepipe.toml") -> Path:
        path = self.folder / at
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
        return path

    def load(
        self,
        variables: Mapping[str, str] | None = None,
        *,
        config: Path | None = None,
        flags: Mapping[str, object] | None = None,
        **environ: str,
    ) -> Settings:
        known = {**self.environ, **environ, **(variables or {})}
        return load_settings(flags=flags or {}, config_file=config, cwd=self.cwd, environ=known)

    def refusal(self, **environ: str) -> list[str]:
        with pytest.raises(SettingsError) as caught:
            self.load(environ)
        return caught.value.message.replace(f"{self.project}/", "").splitlines()


@pytest.fixture
def home(tmp_path: Path) -> Home:
    return Home(tmp_path)


def test_without_any_file_the_defaults_hold(home: Home) -> None:
    settings = home.load()
    assert (settings.registry, settings.build.host, settings.build.jobs) == (None, "unix:///var/run/docker.sock", 2)
    assert (settings.signing.mode, settings.targets, settings.harbor_credential()) == ("keyless", {}, None)


def test_the_nearest_file_upwards_is_read(home: Home) -> None:
    home.write('registry = "far.example"')
    home.write('registry = "near.example"', at="project/deep/imagepipe.toml")
    assert home.load().registry == "near.example"


def test_each_source_wins_over_those_below_it(home: Home) -> None:
    home.write(
        "[build]\njobs = 1\n[harbor]\nusername = 'user-file'\nurl = 'https://user'", at=".config/imagepipe/config.toml"
    )
    home.write("[build]\njobs = 3\n[harbor]\nusername = 'file'")
    assert (home.load().build.jobs, home.load().harbor.username, home.load().harbor.url) == (3, "file", "https://user")
    foreign = home.load(HARBOR_USERNAME="foreign")
    assert foreign.harbor.username == "foreign"
    ours = home.load(HARBOR_USERNAME="foreign", IMAGEPIPE_HARBOR__USERNAME="ours", IMAGEPIPE_BUILD__JOBS="4")
    assert (ours.harbor.username, ours.build.jobs) == ("ours", 4)
    flagged = home.load(flags={"build.jobs": 5, "registry": None}, IMAGEPIPE_BUILD__JOBS="4")
    assert (flagged.build.jobs, flagged.registry) == (5, None)


def test_a_named_file_stands_in_place_of_the_nearest(home: Home) -> None:
    home.write('registry = "near.example"')
    named = home.write("[build]\njobs = 7", at="elsewhere/ci.toml")
    assert (home.load(config=named).registry, home.load(config=named).build.jobs) == (None, 7)
    assert home.load(IMAGEPIPE_CONFIG=str(named)).build.jobs == 7
    assert home.load(IMAGEPIPE_CONFIG="../../../elsewhere/ci.toml").build.jobs == 7


def test_a_named_file_that_is_not_there_is_not_found(home: Home) -> None:
    with pytest.raises(NotFoundError, match=r"gone\.toml: no such file"):
        home.load(config=Path("gone.toml"))


def test_the_users_file_is_looked_for_where_xdg_says(home: Home) -> None:
    home.write('registry = "xdg.example"', at="xdg/imagepipe/config.toml")
    assert home.load(XDG_CONFIG_HOME=str(home.folder / "xdg")).registry == "xdg.example"
    assert home.load(XDG_CONFIG_HOME="relative").registry is None


def test_a_home_that_is_somebody_elses_is_told(home: Home) -> None:
    elsewhere = home.folder / ("x" * 300)  # cannot be looked at, not even by root
    assert home.refusal(HOME=str(elsewhere)) == [
        f"{elsewhere}/.config/imagepipe/config.toml: cannot be read: File name too long"
    ]


def test_a_user_without_a_name_and_a_home_has_the_defaults(home: Home, monkeypatch: pytest.MonkeyPatch) -> None:
    def nobody(uid: int) -> None:
        raise KeyError(uid)

    monkeypatch.delenv("HOME")
    monkeypatch.setattr("pwd.getpwuid", nobody)
    assert home.load(HOME="").build.jobs == 2


def test_a_home_of_nobody_in_a_path_is_refused_at_its_line(home: Home) -> None:
    home.write('\n[harbor]\nca_file = "~nobody-of-that-name/ca.crt"\n')
    assert home.refusal() == ["imagepipe.toml:3: harbor.ca_file: ~nobody-of-that-name is nobody's home on this machine"]


def test_relative_paths_stand_against_the_file_they_stand_in(home: Home) -> None:
    home.write(FULL)
    settings = home.load(IMAGEPIPE_SIGNING__KEY="ci.key", IMAGEPIPE_SIGNING__PASSWORD_FILE="/run/password")
    assert settings.harbor.ca_file == home.project / "certs/ca.crt"
    assert settings.signing.trust_config == home.project / "sigstore/trust.json"
    assert settings.policies["prod"].signed_by[1].key == home.project / "keys/ci.pub"
    assert settings.targets["prod-a"].cert_path == home.folder / ".vch/prod-a"
    assert settings.signing.key == home.cwd / "ci.key"
    assert settings.signing.password_file == Path("/run/password")
    assert home.load(flags={"harbor.ca_file": Path("x.pem")}).harbor.ca_file == home.cwd / "x.pem"


def test_a_variable_means_the_target_whose_name_holds_a_dash(home: Home) -> None:
    home.write(FULL)
    settings = home.load(IMAGEPIPE_TARGETS__PROD_A__HOST="tcp://other:2376")
    assert {name: target.host for name, target in settings.targets.items()} == {"prod-a": "tcp://other:2376"}


def test_a_source_that_puts_a_value_where_a_table_belongs_is_refused(home: Home) -> None:
    home.write("build = 3")
    home.write("[build]\njobs = 3", at=".config/imagepipe/config.toml")
    assert home.refusal() == ["imagepipe.toml:1: build: must be a mapping, not a number"]


def test_a_choice_of_words_is_no_number(home: Home) -> None:
    home.write("[signing]\nmode = 3")
    assert home.refusal() == ["imagepipe.toml:2: signing.mode: must be 'keyless', 'key' or 'none', not a number"]


def test_a_list_or_mapping_in_a_variable_is_json(home: Home) -> None:
    settings = home.load(
        IMAGEPIPE_POLICIES__PROD__SIGNED_BY='[{"identity": "a", "issuer": "b"}]',
        IMAGEPIPE_TARGETS__A='{"kind": "docker", "host": "tcp://a:1"}',
        IMAGEPIPE_TARGETS__A__POLICY="prod",
    )
    assert settings.policy("prod").signed_by == (Identity("a", "b"),)
    assert settings.target("a") == Target("a", TargetKind.DOCKER, "tcp://a:1", None, "prod")
    assert home.refusal(IMAGEPIPE_POLICIES__PROD__SIGNED_BY="[") == [
        "IMAGEPIPE_POLICIES__PROD__SIGNED_BY: not JSON: Expecting value: line 1 column 2 (char 1)"
    ]


def test_empty_variables_are_not_set(home: Home) -> None:
    settings = home.load(IMAGEPIPE_REGISTRY="", HARBOR_PASSWORD="", DOCKER_HOST="", IMAGEPIPE_CONFIG="")
    assert (settings.registry, settings.harbor.password, settings.targets) == (None, None, {})


def test_every_problem_is_listed_with_file_line_and_suggestion(home: Home) -> None:
    home.write(
        'registy = "vic.example"\n'
        "[harbor]\n"
        'ca_fil = "x"   # a typing error\n'
        'url = "https://user:hunter2@vic.example"\n'
        "[build]\n"
        "jobs = 0\n"
        "[signing]\n"
        'mode = "keyles"\n'
        '[targets."prod-a"]\n'
        'kind = "vhc"\n'
        'host = "vch-a"\n'
        "[policies.prod]\n"
        'signed_by = [{ identity = "x" }]\n'
        "[policies.none]\n"
        "signed_by = []\n"
        "[timeouts]\n"
        "read_s = -1\n"
    )
    found = home.refusal()
    assert sorted(found, key=lambda line: int(line.split(":")[1])) == [
        "imagepipe.toml:1: registy: unknown key; did you mean 'registry'?",
        "imagepipe.toml:3: harbor.ca_fil: unknown key; did you mean 'ca_file'?",
        "imagepipe.toml:4: harbor.url: must be https://host[:port], without user, password or query",
        "imagepipe.toml:6: build.jobs: must be greater than or equal to 1",
        "imagepipe.toml:8: signing.mode: must be 'keyless', 'key' or 'none', not 'keyles'; did you mean 'keyless'?",
        "imagepipe.toml:10: targets.prod-a.kind: must be 'vch' or 'docker', not 'vhc'; did you mean 'vch'?",
        "imagepipe.toml:11: targets.prod-a.host: must be tcp://host:port or unix:///path",
        "imagepipe.toml:13: policies.prod.signed_by.0: must have either `identity` and `issuer`, or `key`",
        "imagepipe.toml:15: policies.none.signed_by: must have at least 1 item, not 0",
        "imagepipe.toml:17: timeouts.read_s: must be greater than 0",
    ]


def test_a_missing_key_is_told_at_its_table(home: Home) -> None:
    home.write('[targets.a]\nkind = "vch"\n')
    assert home.refusal() == ["imagepipe.toml:1: targets.a.host: is missing"]


@pytest.mark.parametrize("registry", ["https://vic.example", "vic.example/es", "-x", "", "vic.example:65536"])
def test_a_registry_is_a_host(home: Home, registry: str) -> None:
    home.write(f'registry = "{registry}"')
    (line,) = home.refusal()
    assert line.startswith("imagepipe.toml:1: registry: not a registry host")


def test_a_policy_that_is_not_there_is_refused_with_a_suggestion(home: Home) -> None:
    home.write(FULL.replace('policy = "prod"', 'policy = "prd"'))
    assert home.refusal() == ["imagepipe.toml:15: targets.prod-a.policy: no policy named 'prd'; did you mean 'prod'?"]


def test_signing_by_key_needs_a_key(home: Home) -> None:
    assert home.refusal(IMAGEPIPE_SIGNING__MODE="key") == [
        "IMAGEPIPE_SIGNING__MODE: signing.mode: key needs signing.key to sign, or signing.public_key to verify"
    ]
    assert home.load(IMAGEPIPE_SIGNING__MODE="key", IMAGEPIPE_SIGNING__PUBLIC_KEY="x").signing.mode == "key"


def test_a_wrong_variable_is_named(home: Home) -> None:
    assert home.refusal(IMAGEPIPE_BUILD__JOBS="many") == [
        "IMAGEPIPE_BUILD__JOBS: build.jobs: must be a whole number, not text"
    ]
    assert home.refusal(DOCKER_HOST="tcp://a:1", IMAGEPIPE_TARGETS__ENV__KIND="x")[0].startswith(
        "IMAGEPIPE_TARGETS__ENV__KIND: targets.env.kind: must be"
    )
    assert home.refusal(IMAGEPIPE_TARGETS__A='{"kind": "x", "host": "tcp://a:1"}')[0].startswith(
        "IMAGEPIPE_TARGETS__A:"
    )
    assert home.refusal(IMAGEPIPE_TARGETS__A__KIND="vch") == ["IMAGEPIPE_TARGETS__A__KIND: targets.a.host: is missing"]


def test_a_wrong_flag_is_told_as_the_command_line(home: Home) -> None:
    with pytest.raises(SettingsError, match=r"^command line: build\.jobs: "):
        home.load(flags={"build.jobs": 0})


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("IMAGEPIPE_REGISTY", "; did you mean 'registry'?"),
        ("IMAGEPIPE_BUILD__JOB", "; did you mean 'jobs'?"),
        ("IMAGEPIPE_SOMETHING__ELSE", ""),
    ],
)
def test_a_variable_that_looks_like_a_setting_and_is_none_is_refused(home: Home, name: str, said: str) -> None:
    assert home.refusal(**{name: "x"}) == [f"{name}: no such setting{said}"]


@pytest.mark.parametrize("name", ["IMAGEPIPE_VIRTUALENV", "IMAGEPIPE_SANDBOX_DIR", "IMAGEPIPE"])
def test_a_variable_of_somebody_else_is_left_alone(home: Home, name: str) -> None:
    assert home.load({name: "x"}).model_dump() == home.load().model_dump()


def test_bad_toml_is_refused_at_its_line(home: Home) -> None:
    home.write("registry = \n")
    assert home.refusal() == ["imagepipe.toml:1:12: bad TOML: Invalid value"]
    home.write("\n[harbor\n")
    assert home.refusal()[0].startswith("imagepipe.toml:2:8: bad TOML: Expected ']'")
    home.write('\nregistry = """x')
    assert home.refusal()[0].startswith("imagepipe.toml:2: bad TOML: ")
    home.write(f"[build]\njobs = 1{'0' * 5000}\n")
    assert home.refusal()[0].startswith("imagepipe.toml: bad TOML: Exceeds the limit")
    home.write("a = " + "[" * 5000)
    assert home.refusal()[0].startswith("imagepipe.toml: bad TOML: maximum recursion depth")


def test_a_byte_order_mark_is_no_part_of_the_first_setting(home: Home) -> None:
    home.write('\ufeffregistry = "vic.example"\n')
    assert home.load().registry == "vic.example"


def test_what_is_no_text_is_refused(home: Home) -> None:
    path = home.write("")
    path.write_bytes(b'registry = "\xff"')
    assert home.refusal() == ["imagepipe.toml: not UTF-8"]
    path.write_bytes(b"#" * (1024 * 1024 + 1))
    assert home.refusal() == ["imagepipe.toml: larger than 1024 KiB"]
    with pytest.raises(SettingsError, match="cannot be read: Is a directory"):
        home.load(config=home.folder)


def test_a_file_below_the_working_directory_is_told_by_its_relative_name(home: Home) -> None:
    home.write("x = 1", at="project/deep/down/imagepipe.toml")
    with pytest.raises(SettingsError, match=r"^imagepipe\.toml:1: x: unknown key"):
        home.load()


def test_harbor_is_where_the_registry_is_unless_told(home: Home) -> None:
    assert home.load(IMAGEPIPE_REGISTRY="vic.example:8443").harbor_url == "https://vic.example:8443"
    assert home.load(HARBOR_URL="https://harbor.example/").harbor_url == "https://harbor.example"
    with pytest.raises(SettingsError, match="no registry is configured"):
        _ = home.load().harbor_url


def test_the_password_comes_from_a_file_or_a_variable(home: Home) -> None:
    home.write(FULL)
    home.write("hunter2\n", at="project/secrets/harbor")
    assert home.load().harbor_credential() == Credential("robot$es+ci", "hunter2")
    assert home.load(HARBOR_PASSWORD="other").harbor_credential() == Credential("robot$es+ci", "other")


def test_a_password_file_of_a_higher_source_wins_over_a_password_below(home: Home) -> None:
    secret = home.write("from-file", at="secret")
    home.write("[harbor]\nusername = 'a'\npassword = 'below'")
    credential = home.load(IMAGEPIPE_HARBOR__PASSWORD_FILE=str(secret), HARBOR_PASSWORD="lower").harbor_credential()
    assert credential == Credential("a", "from-file")


def test_password_and_password_file_in_one_place_are_refused(home: Home) -> None:
    home.write("[harbor]\nusername = 'a'\npassword = 'hunter2'\npassword_file = 'x'")
    assert home.refusal() == ["imagepipe.toml:3: harbor: both password and password_file"]


@pytest.mark.parametrize(
    ("environ", "message"),
    [
        ({"HARBOR_USERNAME": "a"}, "a username without a password"),
        ({"HARBOR_PASSWORD": "hunter2"}, "a password without a username"),
    ],
)
def test_half_a_credential_is_refused(home: Home, environ: dict[str, str], message: str) -> None:
    with pytest.raises(SettingsError, match=message):
        home.load(environ).harbor_credential()


@pytest.mark.parametrize(("content", "message"), [(b"\n", "is empty"), (b"hunter\xff", "is not UTF-8")])
def test_a_password_file_without_a_password_is_refused(home: Home, content: bytes, message: str) -> None:
    home.write("[harbor]\nusername = 'a'\npassword_file = 'secret'")
    (home.project / "secret").write_bytes(content)
    with pytest.raises(SettingsError, match=message) as caught:
        home.load().harbor_credential()
    assert "hunter" not in f"{caught.value.message}{caught.value.__cause__}"


def test_a_password_file_that_is_not_there_is_not_found(home: Home) -> None:
    home.write("[harbor]\nusername = 'a'\npassword_file = 'secret'")
    with pytest.raises(NotFoundError, match=r"harbor\.password_file: no such file"):
        home.load().harbor_credential()
    (home.project / "secret").mkdir()
    with pytest.raises(SettingsError, match=r"harbor\.password_file: cannot read .* Is a directory"):
        home.load().harbor_credential()


def test_a_password_never_shows(home: Home) -> None:
    home.write("[harbor]\npassword = 81549300")
    assert "81549300" not in str(home.refusal())
    settings = home.load(config=home.write("", at="x.toml"), HARBOR_PASSWORD="hunter2")
    assert "hunter2" not in f"{settings!r}{settings}{origins(settings)}{settings._layers}"


def test_a_target_is_found_by_name(home: Home) -> None:
    home.write(FULL)
    expected = Target("prod-a", TargetKind.VCH, "tcp://vch-a:2376", str(home.folder / ".vch/prod-a"), "prod")
    assert home.load().target("prod-a") == expected
    with pytest.raises(NotFoundError, match=r"no target named 'prod-b'; did you mean 'prod-a'\?"):
        home.load().target("prod-b")
    with pytest.raises(NotFoundError, match="no target named 'env'") as caught:
        home.load().target("env")
    assert caught.value.hint == "set DOCKER_HOST"


def test_a_policy_reads_its_key_files(home: Home) -> None:
    home.write(FULL)
    home.write("-----BEGIN PUBLIC KEY-----", at="project/keys/ci.pub")
    policy = home.load().policy("prod")
    assert policy.signed_by == (
        Identity("a@example.com", "https://issuer.example"),
        PublicKey("ci", b"-----BEGIN PUBLIC KEY-----"),
    )
    assert (policy.max_severity, policy.require_provenance) == ("high", True)
    with pytest.raises(NotFoundError, match=r"no policy named 'prd'; did you mean 'prod'\?"):
        home.load().policy("prd")


GATED = """
[policies.prod]
signed_by = [{ identity = "a@example.com", issuer = "https://issuer.example" }]
only_fixable = true
max_scan_age_days = 7
provenance = { source = "https://git.example/uf/es", branch = "main" }
require = ["https://spdx.dev/Document"]
after = { targets = ["staging"], hours = 24 }
freeze = [{ from = "2026-12-24T00:00:00Z", until = 2027-01-02T00:00:00Z, why = "year's end" }]
approvals = { by = [{ identity = "b@example.com", issuer = "https://issuer.example" }, { key = "ops.pub" }], count = 2 }

[[policies.prod.waivers]]
cve = "CVE-2026-1"
owner = "dana"
until = "2026-12-31"

[targets.staging]
kind = "docker"
host = "unix:///run/docker.sock"
"""


def test_a_policy_holds_all_its_gates(home: Home) -> None:
    home.write(GATED)
    (home.project / "ops.pub").write_text("-----BEGIN PUBLIC KEY-----")
    policy = home.load().policy("prod")
    assert (policy.only_fixable, policy.max_scan_age_days) == (True, 7)
    assert policy.waivers == (Waiver("CVE-2026-1", "dana", date(2026, 12, 31)),)
    assert policy.provenance == BuildSource("https://git.example/uf/es", "main")
    assert policy.require == ("https://spdx.dev/Document",)
    assert policy.after == Soak(("staging",), 24)
    since, until = datetime(2026, 12, 24, tzinfo=UTC), datetime(2027, 1, 2, tzinfo=UTC)
    assert policy.freezes == (Freeze(since, until, "year's end"),)
    ops = PublicKey("ops", b"-----BEGIN PUBLIC KEY-----")
    assert policy.approvals == Approvals((Identity("b@example.com", "https://issuer.example"), ops), 2)


def test_an_approvers_key_that_is_not_there_is_named(home: Home) -> None:
    home.write(GATED)
    with pytest.raises(NotFoundError, match=r"policies\.prod\.approvals\.by\.1\.key: no such file"):
        home.load().policy("prod")


@pytest.mark.parametrize(
    ("good", "bad", "said"),
    [
        ('targets = ["staging"]', 'targets = ["stagin"]', "no target named 'stagin'; did you mean 'staging'"),
        ("until = 2027-01-02", "until = 2026-01-02", "must end"),
        ("T00:00:00Z, why", "T00:00:00, why", "timezone"),
        ("count = 2", "count = 3", r"imagepipe\.toml:\d+: policies\.prod\.approvals: wants 3 approvals of 2 who may"),
        ('{ key = "ops.pub" }', '{ identity = "b@example.com", issuer = "https://x" }', "wants 2 approvals of 1 who"),
        ("count = 2", "cont = 2", r"policies\.prod\.approvals\.cont: unknown key; did you mean 'count'"),
        ("count = 2", "count = 0", r"policies\.prod\.approvals\.count: must be greater"),
    ],
)
def test_a_gate_that_makes_no_sense_is_refused(home: Home, good: str, bad: str, said: str) -> None:
    home.write(GATED.replace(good, bad))
    with pytest.raises(SettingsError, match=said):
        home.load()


def test_dockers_variables_make_the_target_env(home: Home) -> None:
    plain = home.load(DOCKER_HOST="tcp://vch-a:2376")
    assert plain.target("env") == Target("env", TargetKind.DOCKER, "tcp://vch-a:2376")
    tls = home.load(DOCKER_HOST="tcp://vch-a:2376", DOCKER_TLS_VERIFY="1", IMAGEPIPE_TARGETS__ENV__KIND="vch")
    assert tls.target("env") == Target("env", TargetKind.VCH, "tcp://vch-a:2376", str(home.folder / ".docker"))
    named = home.load(DOCKER_HOST="tcp://vch-a:2376", DOCKER_CERT_PATH="/certs")
    assert named.target("env").cert_path == "/certs"


def test_the_build_host_is_never_taken_from_docker_host(home: Home) -> None:
    assert home.load(DOCKER_HOST="tcp://vch-a:2376").build.host == "unix:///var/run/docker.sock"


@pytest.mark.parametrize(
    "host", ["ssh://user@host", "npipe:////./pipe/docker_engine", "tcp://nowhere", "tcp://a:65536"]
)
def test_a_docker_host_that_cannot_be_a_target_is_left_alone(home: Home, host: str) -> None:
    assert home.load(DOCKER_HOST=host).targets == {}


def test_the_origin_of_every_setting_is_told(home: Home) -> None:
    home.write(FULL)
    settings = home.load(
        flags={"build.jobs": 3}, IMAGEPIPE_SIGNING__MODE="none", HARBOR_PASSWORD="x", DOCKER_HOST="tcp://a:1"
    )
    told = {key: (value, origin.replace(f"{home.project}/", "")) for key, value, origin in origins(settings)}
    assert told["registry"] == ("vic.example", "imagepipe.toml:1")
    assert told["harbor.username"] == ("robot$es+ci", "imagepipe.toml:4")
    assert told["harbor.password"] == ("********", "HARBOR_PASSWORD")
    assert told["harbor.password_file"] == ("", "default")
    assert told["build.jobs"] == ("3", "command line")
    assert told["build.host"] == ("unix:///var/run/docker.sock", "default")
    assert told["signing.mode"] == ("none", "IMAGEPIPE_SIGNING__MODE")
    assert told["targets.prod-a.kind"] == ("vch", "imagepipe.toml:12")
    assert told["targets.env.host"] == ("tcp://a:1", "DOCKER_HOST")
    assert told["targets.env.kind"] == ("docker", "default")
    assert told["policies.prod.require_provenance"] == ("true", "imagepipe.toml:20")
    assert told["timeouts.connect_s"] == ("10", "default")


def test_the_line_of_a_dotted_or_quoted_key_is_found(home: Home) -> None:
    home.write('targets."vch.a".kind = "vch"\ntargets."vch.a".host = "tcp://a:1"\nharbor = { username = "x" }\n')
    told = {key: origin for key, _, origin in origins(home.load())}
    assert told["targets.vch.a.host"].endswith("imagepipe.toml:2")
    assert told["harbor.username"].endswith("imagepipe.toml:3")


def test_every_setting_says_its_default_or_that_there_is_none() -> None:
    def walk(model: object, path: str) -> list[str]:
        fields: Mapping[str, object] = getattr(model, "model_fields", {})
        silent = []
        for name, info in fields.items():
            inner = getattr(info, "annotation", None)
            if hasattr(inner, "model_fields"):
                silent += walk(inner, f"{path}{name}.")
            elif not getattr(info, "description", None):
                silent.append(f"{path}{name}")
        return silent

    assert walk(Settings, "") == []


def test_settings_cannot_be_changed_after_loading(home: Home) -> None:
    with pytest.raises(ValueError, match="frozen"):
        home.load().registry = "other.example"  # type: ignore[misc]  # that it is refused is the point


def test_a_settings_error_is_an_input_error() -> None:
    assert issubclass(SettingsError, InputError)


def test_a_dialect_that_nobody_speaks_is_refused_at_its_line(home: Home) -> None:
    assert home.load(flags={"harbor.dialect": "admiral"}).harbor.dialect == "admiral"
    assert home.load().harbor.dialect is None
    with pytest.raises(SettingsError, match=r"harbor\.dialect.*'harbor-2', 'harbor-1' or 'admiral'"):
        home.load(flags={"harbor.dialect": "harbor-3"})


GROUPED = """\
[targets.prod-a]
kind = "vch"
host = "tcp://vch-a:2376"

[targets.prod-b]
kind = "vch"
host = "tcp://vch-b:2376"

[groups]
prod = ["prod-a", "prod-b"]
"""


def test_a_group_stands_for_its_targets_and_each_of_them_counts_once(home: Home) -> None:
    home.write(GROUPED)
    settings = home.load()
    assert settings.members(["prod"]) == ("prod-a", "prod-b")
    assert settings.members(["prod-b", "prod", "prod-b"]) == ("prod-b", "prod-a")
    ((value, origin),) = [(value, origin) for key, value, origin in origins(settings) if key == "groups.prod"]
    assert value == '["prod-a", "prod-b"]'
    assert origin.endswith("imagepipe.toml:10")
    by_variable = home.load(IMAGEPIPE_GROUPS__PROD='["prod-b"]')
    assert by_variable.members(["prod"]) == ("prod-b",)


def test_a_name_that_is_neither_target_nor_group_is_not_found_with_either_suggested(home: Home) -> None:
    home.write(GROUPED)
    with pytest.raises(NotFoundError, match="no target named 'prd'; did you mean 'prod'"):
        home.load().target("prd")


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ('prod = ["prod-a", "prod-x"]', "groups.prod: no target named 'prod-x'; did you mean 'prod-"),
        ("prod = []", "groups.prod: must have at least 1 item"),
        ('prod = "prod-a"', "groups.prod: must be a list, not text"),
        ('prod = ["prod-a", "prod-a"]', "groups.prod: target 'prod-a' is named twice"),
        ('prod-a = ["prod-b"]', "groups.prod-a: a target is called 'prod-a' too; rename one of them"),
        ('all = ["all"]', "groups.all: 'all' is a group: name its targets"),
    ],
)
def test_a_group_that_makes_no_sense_is_refused_at_its_line(home: Home, line: str, said: str) -> None:
    home.write(GROUPED.replace('prod = ["prod-a", "prod-b"]', line))
    (told,) = home.refusal()
    assert told.startswith(f"imagepipe.toml:10: {said}")


def test_a_policy_may_want_an_image_to_have_stood_on_a_group(home: Home) -> None:
    policy = (
        '\n[policies.prod]\nsigned_by = [{ identity = "a", issuer = "b" }]\nafter = { targets = ["%s"], hours = 1 }\n'
    )
    home.write(GROUPED + policy % "prod")
    assert home.load().policy("prod").after == Soak(("prod-a", "prod-b"), 1)
    home.write(GROUPED + policy % "prd")
    assert "no target named 'prd'; did you mean 'prod'" in home.refusal()[0]


def test_a_target_is_pinned_to_a_certificate_and_an_id(home: Home) -> None:
    pin = f"sha256:{'a' * 64}"
    lines = [
        "[targets.a]",
        'kind = "vch"',
        'host = "tcp://a:2376"',
        'cert_path = "/c"',
        f'pin = "{pin}"',
        'id = "prod-a"',
    ]
    home.write("\n".join(lines))
    target = home.load().target("a")
    assert (target.pin, target.host_id) == (pin, "prod-a")


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ('pin = "sha256:AB"', "pin"),
        (f'pin = "sha256:{"a" * 64}"', "cert_path"),
        ('id = ""', "id"),
    ],
)
def test_a_pin_that_can_never_hold_is_refused(home: Home, line: str, said: str) -> None:
    home.write(f'[targets.a]\nkind = "vch"\nhost = "tcp://a:2376"\n{line}\n')
    with pytest.raises(SettingsError, match=said):
        home.load()


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ('build.jobs = "2"', "build.jobs: must be a whole number, not text"),
        ("build.jobs = 2.0", "build.jobs: must be a whole number, without a decimal point"),
        ("build.jobs = true", "build.jobs: must be a whole number, not true or false"),
        ('timeouts.read_s = "5"', "timeouts.read_s: must be a number, not text"),
        ('policies.p = {signed_by = [{key = "k"}], require_provenance = "no"}', "must be true or false, not text"),
        ('policies.p = {signed_by = [{key = "k"}], only_fixable = 1}', "must be true or false, not a number"),
        ('policies.p = {signed_by = [{key = "k"}], waivers = [{cve = "c", owner = "o", until = 0}]}', "must be a date"),
        (
            'policies.p = {signed_by = [{key = "k"}], freeze = [{from = 1, until = 2026-01-02T00:00:00Z, why = "w"}]}',
            "must be a time with its zone",
        ),
    ],
)
def test_a_value_of_another_kind_is_refused_in_a_file(home: Home, line: str, said: str) -> None:
    home.write(f"{line}\n")
    with pytest.raises(SettingsError) as refused:
        home.load()
    assert said in refused.value.message
    assert "imagepipe.toml:1: " in refused.value.message


def test_a_variable_holds_text_whatever_it_is_meant_as(home: Home) -> None:
    home.write('policies.p = {signed_by = [{key = "k"}], require_provenance = true}\n')
    settings = home.load(
        IMAGEPIPE_BUILD__JOBS="5", IMAGEPIPE_TIMEOUTS__LOCK_S="0.5", IMAGEPIPE_POLICIES__P__REQUIRE_PROVENANCE="false"
    )
    assert (settings.build.jobs, settings.timeouts.lock_s) == (5, 0.5)
    assert settings.policies["p"].require_provenance is False
    with pytest.raises(SettingsError, match=r"^IMAGEPIPE_BUILD__JOBS: build\.jobs: must be a whole number, not text$"):
        home.load(IMAGEPIPE_BUILD__JOBS="many")


def test_the_variable_that_turned_tls_on_is_told(home: Home) -> None:
    def origin(**variables: str) -> str:
        settings = home.load({"DOCKER_HOST": "tcp://vch-a.example:2376", **variables})
        return settings.origin("targets", "env", "cert_path")

    assert origin(DOCKER_TLS_VERIFY="1") == "DOCKER_TLS_VERIFY"
    assert origin(DOCKER_TLS_VERIFY="1", DOCKER_CERT_PATH="/x") == "DOCKER_CERT_PATH"
