import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from imagepipe.model.received import json_in

_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner, max_size=3),
    max_leaves=8,
)


@given(_values)
def test_what_was_written_as_json_is_read_as_it_was(value: object) -> None:
    assert json_in(json.dumps(value)) == value
    assert json_in(json.dumps(value).encode()) == value


@pytest.mark.parametrize(
    "text",
    [
        "",
        "{",
        pytest.param("[" * 100_000, id="deep"),
        pytest.param('{"a":' * 100_000, id="deep objects"),
        "NaN",
        "[Infinity]",
        "-Infinity",
        "1e999",
        pytest.param("9" * 5000, id="long"),
        b"\xff",
    ],
)
def test_whatever_is_wrong_is_one_kind_of_error(text: str | bytes) -> None:
    with pytest.raises(ValueError, match=r"."):
        json_in(text)
