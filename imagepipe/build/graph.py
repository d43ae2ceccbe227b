"""Orders pipelines so that each comes after what it needs; stable, so that equal input is built in equal order.

>>> order(())
()
"""

from collections.abc import Mapping, Sequence
from itertools import pairwise

from imagepipe.errors import InputError
from imagepipe.model.pipeline import Pipeline
from imagepipe.problems import did_you_mean

__all__ = ["order"]


def order(pipelines: Sequence[Pipeline]) -> tuple[Pipeline, ...]:
    """Returns the pipelines, needed ones first, otherwise in the order given.

    Raises:
        InputError: Two have one name, a need is unknown, or needs go in a circle; names file and line.
    """
    by_name: dict[str, Pipeline] = {}
    for pipeline in pipelines:
        other = by_name.setdefault(pipeline.name, pipeline)
        if other is not pipeline:
            raise InputError(
                f"{pipeline.where('name')}: name: {pipeline.name!r} is also the name at {other.where('name')}",
                hint="rename one of them: both would claim the same tags, and `needs` could not tell them apart",
            )
    needs = {pipeline.name: _needed_by(pipeline, by_name) for pipeline in pipelines}
    done: dict[str, Pipeline] = {}
    for pipeline in pipelines:
        _visit(pipeline, needs, done, ())
    return tuple(done.values())


def _needed_by(pipeline: Pipeline, by_name: Mapping[str, Pipeline]) -> tuple[Pipeline, ...]:
    for index, name in enumerate(pipeline.needs):
        if name not in by_name:
            raise InputError(
                f"{pipeline.where(f'needs.{index}')}: needs.{index}: no pipeline is named {name!r}"
                f"{did_you_mean(name, by_name)}",
                hint="name a pipeline that stands beside this file, by its `name`",
            )
    return tuple(by_name[name] for name in pipeline.needs)


def _visit(
    pipeline: Pipeline,
    needs: Mapping[str, tuple[Pipeline, ...]],
    done: dict[str, Pipeline],
    trail: tuple[Pipeline, ...],
) -> None:
    if pipeline.name in done:
        return
    for start, earlier in enumerate(trail):
        if earlier is pipeline:
            raise _cycle((*trail[start:], pipeline))
    for other in needs[pipeline.name]:
        _visit(other, needs, done, (*trail, pipeline))
    done[pipeline.name] = pipeline


def _cycle(circle: tuple[Pipeline, ...]) -> InputError:
    steps = [
        (here.where(f"needs.{here.needs.index(there.name)}"), f"{here.name} needs {there.name}")
        for here, there in pairwise(circle)
    ]
    told = ", ".join(f"{step} ({place})" for place, step in steps)
    return InputError(f"{steps[0][0]}: needs go in a circle: {told}", hint="remove one of these needs")
