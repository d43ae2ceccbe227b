from pathlib import Path
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from pydantic import BaseModel, ConfigDict, SecretStr

from imagepipe.documents import parse_document, read_document, write_document
from imagepipe.errors import InputError, NotFoundError, UsageError

_plain = st.recursive(
    st.none() | st.booleans() | st.integers(-(10**9), 10**9) | st.text(st.characters(codec="ascii"), max_size=6),
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.from_regex(r"[a-z]{1,4}", fullmatch=True), inner, max_size=3)
    ),
    max_leaves=8,
)


class Member(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True)

    name: str
    role: str = "guest"
    secret: SecretStr | None = None


class Team(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True)

    project: str
    members: list[Member] = []
    labels: dict[str, str] = {}
    size: int = 0


def refusal(text: str) -> str:
    with pytest.raises(InputError) as caught:
        parse_document(text.encode(), "x.yaml").validate(Team)
    return caught.value.message


@given(_plain)
@example("0E0")  # text to YAML 1.1 and to PyYAML's own writer, a number to YAML 1.2
def test_plain_data_written_as_yaml_is_read_back(data: Any) -> None:
    assert parse_document(write_document({"data": data}).encode(), "x.yaml").data == {"data": data}


@given(st.binary(max_size=40) | st.text(max_size=40).map(str.encode))
def test_any_bytes_are_read_or_refused_with_the_files_name(raw: bytes) -> None:
    try:
        parse_document(raw, "x.yaml")
    except InputError as error:
        assert error.message.startswith("x.yaml:")  # noqa: PT017  # that nothing else is raised is the point


def test_each_key_is_found_where_it_stands() -> None:
    document = parse_document(b"name: a\nbuild:\n  args: {A: x, B: y}\ntags:\n- one\n- two\n", "x.yaml")
    assert document.where(("build", "args", "B")) == "x.yaml:3:16"
    assert document.where(("tags", 1)) == "x.yaml:6:3"
    assert document.where(("build", "args", "missing")) == "x.yaml:3:3"
    assert document.where(()) == "x.yaml:1:1"


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("yes", "yes"),
        ("on", "on"),
        ("NO", "NO"),
        ("2026-11-22", "2026-11-22"),
        ("1:30", "1:30"),
        ("0755", 755),
        ("1_000", "1_000"),
        ("0x10", "0x10"),
        ("1.10", 1.1),
        ("1e3", 1000.0),
        ("TRUE", True),
        ("~", None),
        ("", None),
        ("'1'", "1"),
        ("!!str 1", "1"),
        ("=", "="),
        ("<<", "<<"),
    ],
)
def test_words_mean_what_yaml_1_2_says(text: str, value: object) -> None:
    found = parse_document(f"key: {text}\n".encode(), "x.yaml").data["key"]
    assert (found, type(found)) == (value, type(value))


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "x.yaml:1: the file is empty"),
        ("# only a comment\n", "x.yaml:1: the file is empty"),
        ("a: 1\nb: [1,\n", "x.yaml:3:1: bad YAML: while parsing a flow node, expected the node content"),
        ("a: 1\n b: 2\n", "x.yaml:2:3: bad YAML: mapping values are not allowed here"),
        ("a: 1\n---\nb: 2\n", "x.yaml:2:1: bad YAML: expected a single document in the stream, but found another"),
        ("a: *gone\n", "x.yaml:1:4: bad YAML: found undefined alias 'gone'"),
        ("a: 1\nb: 2\na: 3\n", "x.yaml:3:1: key 'a' stands here and at line 1"),
        ("1: a\n", "x.yaml:1:1: a key must be text; put it in quotes"),
        ("? [a]\n: b\n", "x.yaml:1:3: a key must be text; put it in quotes"),
        (
            "a: !!python/object:os.system x\n",
            "x.yaml:1:4: tag 'tag:yaml.org,2002:python/object:os.system' is not allowed",
        ),
        ("a: !!binary eA==\n", "x.yaml:1:4: tag 'tag:yaml.org,2002:binary' is not allowed"),
        ("a: !!set {x}\n", "x.yaml:1:4: tag 'tag:yaml.org,2002:set' is not allowed"),
        ("a: !!omap [x: 1]\n", "x.yaml:1:4: tag 'tag:yaml.org,2002:omap' is not allowed"),
        ("a: !!int x\n", "x.yaml:1:4: 'x' is not what its tag says"),
        ("a: !!bool maybe\n", "x.yaml:1:4: 'maybe' is not what its tag says"),
        ("a: 1\nb: \x07\n", "x.yaml:2: bad YAML: special characters are not allowed"),
        ('a: "\\UFFFFFFFF"\n', "x.yaml: bad YAML: "),
    ],
)
def test_bad_yaml_is_refused_at_its_line(text: str, message: str) -> None:
    with pytest.raises(InputError) as caught:
        parse_document(text.encode(), "x.yaml")
    assert caught.value.message.startswith(message)


def test_bytes_that_are_no_utf8_are_refused_at_their_line() -> None:
    with pytest.raises(InputError, match=r"^x\.yaml:2: not UTF-8"):
        parse_document(b"a: 1\nb: \xff\n", "x.yaml")


def test_a_byte_order_mark_is_no_part_of_the_first_key() -> None:
    assert parse_document(b"\xef\xbb\xbfa: 1\n", "x.yaml").data == {"a": 1}


def test_a_small_file_cannot_grow_large_by_aliases() -> None:
    lines = ["a0: &a0 [x, x, x, x, x, x, x, x, x, x]"]
    lines += [f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 10)}]" for n in range(1, 10)]
    with pytest.raises(InputError, match="too much by aliases"):
        parse_document("\n".join(lines).encode(), "x.yaml")


@pytest.mark.parametrize("text", ["[" * 200 + "]" * 200, "[" * 20_000, "a: &a [*a]"])
def test_a_file_nested_too_deeply_is_refused(text: str) -> None:
    with pytest.raises(InputError, match="nested too deeply"):
        parse_document(text.encode(), "x.yaml")


def test_every_problem_is_listed_in_the_order_of_the_file_with_a_suggestion() -> None:
    text = "members:\n- nam: kim\n  role: 3\n- name: lee\n  rol: guest\nlabels: [a]\nsize: many\nproyect: x\n"
    assert refusal(text).splitlines() == [
        "x.yaml:1:1: project: is missing",
        "x.yaml:2:3: members.0.name: is missing",
        "x.yaml:2:3: members.0.nam: unknown key; did you mean 'name'?",
        "x.yaml:3:3: members.0.role: must be text, not a number; put it in quotes",
        "x.yaml:5:3: members.1.rol: unknown key; did you mean 'role'?",
        "x.yaml:6:1: labels: must be a mapping, not a list",
        "x.yaml:7:1: size: must be a whole number, not text",
        "x.yaml:8:1: proyect: unknown key; did you mean 'project'?",
    ]


def test_a_secret_of_the_wrong_type_is_not_repeated() -> None:
    assert "81549300" not in refusal("project: a\nmembers: [{name: kim, secret: 81549300}]\n")


def test_a_list_where_a_mapping_is_expected_is_refused() -> None:
    assert refusal("[]") == "x.yaml:1:1: must be a mapping, not a list"


def test_a_valid_document_becomes_its_model() -> None:
    team = parse_document(b"project: es\nmembers: [{name: kim}]\n", "x.yaml").validate(Team)
    assert team == Team(project="es", members=[Member(name="kim")])


def test_a_reader_may_refuse_a_key_in_its_own_words() -> None:
    document = parse_document(b"a: 1\nb: 2\n", "x.yaml")
    error = document.refuse(("b",), "must be odd", hint="add one")
    assert (error.message, error.hint) == ("x.yaml:2:1: b: must be odd", "add one")


@pytest.mark.parametrize(
    ("assignment", "data"),
    [
        ("build.target=runtime", {"build": {"target": "runtime"}, "tags": ["a", "b"], "none": None}),
        ("tags.1=c", {"build": {"target": "x"}, "tags": ["a", "c"], "none": None}),
        ("tags=[c]", {"build": {"target": "x"}, "tags": ["c"], "none": None}),
        ("none.new=1.10", {"build": {"target": "x"}, "tags": ["a", "b"], "none": {"new": "1.10"}}),
        ("none=true", {"build": {"target": "x"}, "tags": ["a", "b"], "none": True}),
        ('none."a.b"=x=y', {"build": {"target": "x"}, "tags": ["a", "b"], "none": {"a.b": "x=y"}}),
        ("none=", {"build": {"target": "x"}, "tags": ["a", "b"], "none": ""}),
    ],
)
def test_an_assignment_is_put_over_the_file(assignment: str, data: object) -> None:
    document = parse_document(b"build: {target: x}\ntags: [a, b]\nnone:\n", "x.yaml")
    assert document.override([assignment]).data == data
    assert document.data["tags"] == ["a", "b"]


@pytest.mark.parametrize(
    "assignment", ["target", "=x", "a..b=x", ".a=x", "a.=x", "tags.2=x", "tags.one=x", "name.first=x", 'a."b=x']
)
def test_an_assignment_that_makes_no_sense_is_a_usage_error(assignment: str) -> None:
    with pytest.raises(UsageError, match=r"^--set "):
        parse_document(b"name: x\ntags: [a, b]\n", "x.yaml").override([assignment])


def test_a_value_that_came_by_assignment_is_refused_by_that_name() -> None:
    document = parse_document(b"project: es\nmembers: [{name: kim}]\n", "x.yaml")
    changed = document.override(["members=[{nam: lee}]", "size=3"])
    with pytest.raises(InputError) as caught:
        changed.validate(Team)
    assert sorted(caught.value.message.splitlines()) == [
        "x.yaml (--set members): members.0.nam: unknown key; did you mean 'name'?",
        "x.yaml (--set members): members.0.name: is missing",
        "x.yaml (--set size): size: must be a whole number, not text",
    ]


def test_bad_yaml_in_an_assignment_is_refused() -> None:
    with pytest.raises(InputError, match=r"^--set tags:1:3: bad YAML"):
        parse_document(b"name: x\n", "x.yaml").override(["tags=[a"])


def test_a_file_is_read_by_the_name_the_user_knows(tmp_path: Path) -> None:
    file = tmp_path / "a.yaml"
    file.write_text("a: 1\n")
    assert read_document(file, shown_as="a.yaml").where(("a",)) == "a.yaml:1:1"
    assert read_document(file).file == str(file)


def test_a_file_that_is_not_there_is_not_found(tmp_path: Path) -> None:
    with pytest.raises(NotFoundError, match=r"gone\.yaml: no such file"):
        read_document(tmp_path / "gone.yaml")


def test_a_folder_is_no_document(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="cannot be read: Is a directory"):
        read_document(tmp_path)


def test_a_huge_file_is_refused_before_it_is_parsed(tmp_path: Path) -> None:
    (tmp_path / "a.yaml").write_bytes(b"#" * (1024 * 1024 + 1))
    with pytest.raises(InputError, match="larger than 1024 KiB"):
        read_document(tmp_path / "a.yaml")
