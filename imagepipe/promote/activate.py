"""Switches containers once all targets hold what they are to run: one target after another, all or nothing on each.

>>> from imagepipe.promote.activate import activate
>>> activate.__name__
'activate'
"""

from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import replace

from imagepipe.errors import ImagepipeError, InputError, NotFoundError, RefusedError
from imagepipe.events import step
from imagepipe.model.activation import Activation, Switched
from imagepipe.model.host import Container
from imagepipe.model.promotion import TargetResult
from imagepipe.model.reference import Pinned, Reference
from imagepipe.problems import did_you_mean
from imagepipe.promote.execute import Item
from imagepipe.promote.ports import HostPorts, World
from imagepipe.promote.switching import Switch, name_aside

__all__ = ["Results", "activate", "choices"]

# What became of each image on each target, by the target's name and the image that was promoted.
Results = Mapping[tuple[str, Pinned], TargetResult]


def choices(items: Sequence[Item], names: Sequence[str], ports: HostPorts) -> dict[str, Pinned]:
    """Returns which of a target's images each container is to run: the one of the repository that it runs now.

    Raises:
        NotFoundError: There is no such container.
        RefusedError: It runs something else, or would be gone once it stops.
        AccessError, UnavailableError: The host refuses us, or is away.
    """
    here = {one.name: one for one in ports.inventory.inventory().containers}
    images = [item.plan.image for item in items]
    return {name: _choose(name, images, here, ports) for name in names}


def activate(loads: Sequence[Sequence[Item]], results: Results, names: Sequence[str], world: World) -> Results:
    """Returns the results with what became of the containers; nothing is switched unless all images are everywhere.

    Targets are switched one after another, and no further one is once one failed: a new image that does not run stops
    a service on one target only, and for as long as it takes to find out.

    Args:
        loads: What each target took, in the order in which they are switched.
        results: What became of that.
        names: The containers.
        world: What is asked.
    """
    found = dict(results)
    lacking = [items[0].plan.target.name for items in loads if not _arrived(items, results)]
    why = f"nothing is switched before every target holds everything, and {', '.join(lacking)} does not"
    stopped = bool(lacking)
    for items in loads:
        if stopped:
            told = _untouched(items, names, world, RefusedError(why)) if _arrived(items, results) else []
        else:
            told = _switch(items, names, world)
            stopped = not all(one.outcome.good for one in told)
            why = f"not tried, because it failed on {items[0].plan.target.name}"
        for item in items:
            key = (item.plan.target.name, item.image)
            own = tuple(one for one in told if one.image == item.plan.image)
            found[key] = replace(found[key], activations=own)
    return found


def _arrived(items: Sequence[Item], results: Results) -> bool:
    return all(results[item.plan.target.name, item.image].arrival.good for item in items)


def _choose(name: str, images: Sequence[Pinned], here: Mapping[str, Container], ports: HostPorts) -> Pinned:
    found = here.get(name) or here.get(name_aside(name))
    if found is None:
        raise NotFoundError(
            f"no container named {name!r}{did_you_mean(name, here)}",
            hint="name one that is there; make the first one by hand, from repository@digest",
        )
    known = {image.repository for image in found.images}
    with suppress(InputError):
        # Of several names that the host has for one image, the one that it was created from decides.
        made_from = Reference.parse(found.created_from).repository
        known = {made_from} if any(image.repository == made_from for image in images) else known
    fitting = [image for image in images if image.repository in known]
    if len(fitting) != 1:
        raise RefusedError(
            f"{name} runs {found.created_from}, "
            + ("of which several" if fitting else "and none")
            + f" of {', '.join(str(image.repository) for image in images)} may take the place",
            hint="name a container that runs an image of a repository that is promoted",
        )
    if found.linked_by:
        # A link is to the container itself, whatever takes its name. Source: moby v20.10.24 daemon/links.go.
        raise RefusedError(
            f"{', '.join(found.linked_by)} would lose {name}, linked to with --link",
            hint="make them anew on a network of their own, where names are looked up, then promote again",
        )
    if ports.runner.condition(found.name).removes_itself:
        raise RefusedError(
            f"{name} is gone once it stops (--rm), and could not be put back",
            hint=f"make {name} anew without --rm, then promote again",
        )
    return fitting[0]


def _untouched(items: Sequence[Item], names: Sequence[str], world: World, why: ImagepipeError) -> list[Activation]:
    """Returns that nothing was switched on a target; nothing at all where it cannot be asked any more."""
    with suppress(ImagepipeError):
        chosen = choices(items, names, world.connect(items[0].plan.target))
        return [Activation.failed(name, Switched.UNTOUCHED, image, "", why) for name, image in chosen.items()]
    return []


def _switch(items: Sequence[Item], names: Sequence[str], world: World) -> list[Activation]:
    target, images = items[0].plan.target, [item.plan.image for item in items]
    begun, chosen = list[Switch](), dict.fromkeys(names, images[0])
    try:
        ports = world.connect(target)
        chosen = choices(items, names, ports)
        for name, image in chosen.items():
            begun.append(Switch(name, image, ports, world))
            with step(world.events, "activate", f"{name} on {target.name}") as note:
                begun[-1].begin()
                note.detail = f"{begun[-1].outcome.value} {image.digest}"
    except ImagepipeError as error:
        return _undone(begun, chosen, error.doing(f"activate {begun[-1].name if begun else names[0]} on {target.name}"))
    except BaseException:
        # Ctrl-C: whoever pressed it must not find a service stopped half way.
        for switch in reversed(begun):
            with suppress(ImagepipeError):
                switch.undo()
        raise
    for switch in begun:
        switch.commit()
    return [Activation(one.name, one.outcome, one.image, one.before) for one in begun]


def _undone(begun: Sequence[Switch], chosen: Mapping[str, Pinned], why: ImagepipeError) -> list[Activation]:
    """Puts back on one target what was switched already, last first, and returns what each container came to."""
    told = {name: Activation.failed(name, Switched.UNTOUCHED, image, "", why) for name, image in chosen.items()}
    for switch in reversed(begun):
        error = why
        try:
            switch.undo()
        except ImagepipeError as worse:
            told_both = f"{why.message}; and what ran before cannot be put back: {worse.message}"
            error = type(why)(told_both, hint="run the same command again: it goes on where this one stopped")
        if switch.outcome is Switched.RUNNING:
            told[switch.name] = Activation(switch.name, switch.outcome, switch.image, switch.before)
            continue
        if switch.outcome is Switched.RESTORED:
            error = type(why)(f"{why.message}; {switch.restored}", hint=why.hint)
        told[switch.name] = Activation.failed(switch.name, switch.outcome, switch.image, switch.before, error)
    return list(told.values())
