from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from imagepipe.build.graph import order
from imagepipe.errors import InputError
from imagepipe.model.digest import Digest
from imagepipe.model.pipeline import BuildSpec, Pipeline


def pipeline(name: str, *needs: str) -> Pipeline:
    lines = {
        "name": f"{name}.yaml:2:1",
        **{f"needs.{index}": f"{name}.yaml:{index + 5}:3" for index in range(len(needs))},
    }
    return Pipeline(
        name, "es", BuildSpec(Path("/")), needs, file=Path(f"/{name}.yaml"), digest=Digest.of(b""), lines=lines
    )


def names(*pipelines: Pipeline) -> list[str]:
    return [found.name for found in order(pipelines)]


def refusal(*pipelines: Pipeline) -> str:
    with pytest.raises(InputError) as caught:
        order(pipelines)
    return caught.value.message


# Each node needs some of those before it, so that there is no circle; then they are shuffled.
_graphs = st.integers(min_value=0, max_value=7).flatmap(
    lambda size: st.tuples(
        st.permutations(range(size)),
        *(st.sets(st.integers(0, index - 1) if index else st.nothing()) for index in range(size)),
    )
)


@given(_graphs)
def test_each_comes_after_what_it_needs_and_none_is_lost(graph: tuple[list[int], ...]) -> None:
    shuffled, *needs = graph
    nodes = {index: pipeline(str(index), *map(str, sorted(needed))) for index, needed in enumerate(needs)}
    ordered = names(*(nodes[index] for index in shuffled))
    assert sorted(ordered) == sorted(map(str, shuffled))
    for index, needed in enumerate(needs):
        assert all(ordered.index(str(need)) < ordered.index(str(index)) for need in needed)


@given(_graphs)
def test_ordering_what_is_in_order_changes_nothing(graph: tuple[list[int], ...]) -> None:
    shuffled, *needs = graph
    nodes = {index: pipeline(str(index), *map(str, sorted(needed))) for index, needed in enumerate(needs)}
    once = order([nodes[index] for index in shuffled])
    assert order(once) == once


def test_what_needs_nothing_stays_in_the_order_given() -> None:
    assert names(pipeline("c"), pipeline("a"), pipeline("b")) == ["c", "a", "b"]


def test_a_need_comes_right_before_who_needs_it_first() -> None:
    assert names(pipeline("app", "base"), pipeline("other"), pipeline("base")) == ["base", "app", "other"]


def test_an_unknown_need_is_refused_at_its_line_with_a_suggestion() -> None:
    message = refusal(pipeline("app", "bsae"), pipeline("base"))
    assert message == "app.yaml:5:3: needs.0: no pipeline is named 'bsae'; did you mean 'base'?"


def test_a_circle_is_refused_and_each_of_its_steps_is_named() -> None:
    message = refusal(
        pipeline("start", "a"), pipeline("a", "x", "b"), pipeline("b", "c"), pipeline("c", "a"), pipeline("x")
    )
    assert message == (
        "a.yaml:6:3: needs go in a circle: a needs b (a.yaml:6:3), b needs c (b.yaml:5:3), c needs a (c.yaml:5:3)"
    )


def test_two_pipelines_of_one_name_are_refused_with_both_places() -> None:
    other = Pipeline("a", "es", BuildSpec(Path("/")), file=Path("/other.yaml"), digest=Digest.of(b""))
    assert refusal(pipeline("a"), other) == "/other.yaml: name: 'a' is also the name at a.yaml:2:1"
