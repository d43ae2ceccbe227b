"""Orders pipelines so that each comes after what it needs; stable, so that equal input is built in equal order.

>>> order(())
()
"""

from collections.abc import Sequence
from itertools import pairwise

from imagepipe.errors import InputError
from imagepipe.model.pipeline import Pipeline
from imagepipe.problems import did_you_mean

__all__ = ["needed_by", "order"]


def order(pipelines: Sequence[Pipeline]) -> tuple[Pipeline, ...]:
    """Returns the pipelines, needed ones first, otherwise in the order given.

    Raises:
        InputError: A need is unknown or names two pipelines, or needs go in a circle; names file and line.
    """
    needs = {id(pipeline): needed_by(pipeline, pipelines) for pipeline in pipelines}
    done: dict[int, Pipeline] = {}
    for pipeline in pipelines:
        _visit(pipeline, needs, done, ())
    return tuple(done.values())


def needed_by(pipeline: Pipeline, pipelines: Sequence[Pipeline]) -> tuple[Pipeline, ...]:
    """Returns the pipelines that this one needs directly, in the order of its file.

    Raises:
        InputError: A need is unknown, or names two pipelines.
    """
    return tuple(_find(pipeline, index, pipelines) for index in range(len(pipeline.needs)))


def _find(pipeline: Pipeline, index: int, pipelines: Sequence[Pipeline]) -> Pipeline:
    name = pipeline.needs[index]
    where = f"{pipeline.where(f'needs.{index}')}: needs.{index}"
    found = [other for other in pipelines if other.name == name]
    if not found:
        near = did_you_mean(name, (other.name for other in pipelines))
        raise InputError(f"{where}: no pipeline is named {name!r}{near}", hint="name a pipeline's `name`")
    if len(found) > 1:
        places = " and ".join(other.where("name") for other in found)
        raise InputError(f"{where}: {name!r} is the name of two pipelines, {places}", hint="rename one of them")
    return found[0]


def _visit(
    pipeline: Pipeline, needs: dict[int, tuple[Pipeline, ...]], done: dict[int, Pipeline], trail: tuple[Pipeline, ...]
) -> None:
    if id(pipeline) in done:
        return
    for start, earlier in enumerate(trail):
        if earlier is pipeline:
            raise _cycle((*trail[start:], pipeline))
    for other in needs[id(pipeline)]:
        _visit(other, needs, done, (*trail, pipeline))
    done[id(pipeline)] = pipeline


def _cycle(circle: tuple[Pipeline, ...]) -> InputError:
    steps = [
        (here.where(f"needs.{here.needs.index(there.name)}"), f"{here.name} needs {there.name}")
        for here, there in pairwise(circle)
    ]
    told = ", ".join(f"{step} ({place})" for place, step in steps)
    return InputError(f"{steps[0][0]}: needs go in a circle: {told}", hint="remove one of these needs")
