"""Finds out which images a target runs or would go back to, and makes the registry keep exactly those.

Nothing is let go of while somebody could not be asked: who is away may run it.

>>> Protection.__name__
'Protection'
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Final

from imagepipe import fanout
from imagepipe.errors import NotFoundError, RefusedError, UnavailableError, UnsupportedError
from imagepipe.events import Warned, step
from imagepipe.model.digest import Digest
from imagepipe.model.host import Inventory
from imagepipe.model.ledger import head_tag
from imagepipe.model.manifest import Index
from imagepipe.model.protection import Need, Protected, State, Why
from imagepipe.model.reference import Pinned, Repository
from imagepipe.ports.protection import Keeper, TagSource
from imagepipe.promote.history import chains
from imagepipe.promote.ledger import Chain
from imagepipe.promote.ports import World
from imagepipe.promote.rollback import ways_back

__all__ = ["Protection", "Survey"]

_HEAD: Final = head_tag("")


@dataclass(frozen=True, slots=True)
class Survey:
    """What is needed, and what is kept.

    Attributes:
        images: What somebody needs, then what is kept and nobody needs; each with the registry's word on it.
        away: Targets that could not be asked what they run, by name, with the reason.
        doubts: Why else something may be needed that is not listed.
        unsupported: Why this registry can keep nothing, or None.
        back: How many images each target could go back to.
    """

    images: tuple[Protected, ...]
    away: Mapping[str, str]
    doubts: tuple[str, ...] = ()
    unsupported: UnsupportedError | None = None
    back: int = 1

    @property
    def to_keep(self) -> tuple[Pinned, ...]:
        """What is needed and not kept yet."""
        return tuple(one.image for one in self.images if one.needs and one.state is State.OPEN)

    @property
    def to_release(self) -> tuple[Pinned, ...]:
        """What is kept and not needed any more; nothing while that is not sure."""
        sure = not self.away and not self.doubts
        return tuple(one.image for one in self.images if not one.needs) if sure else ()


class Protection:
    """The guard between retention and what is needed.

    Args:
        world: What promotion talks to; its targets are asked.
        keeper: What keeps images.
        tags: What names tags.
        jobs: Targets asked at once.
    """

    def __init__(self, *, world: World, keeper: Keeper, tags: TagSource, jobs: int) -> None:
        self._world = world
        self._keeper = keeper
        self._tags = tags
        self._jobs = jobs

    def survey(self, repositories: Sequence[Repository], *, back: int = 1) -> Survey:
        """Returns what the targets need of the repositories, and what of it is kept.

        Args:
            repositories: Whose images.
            back: How many images each target could go back to.
        """
        inventories, away = self._inventories()
        images, doubts = list[Protected](), list[str]()
        unsupported: UnsupportedError | None = None
        for repository in repositories:
            ledger = _Needs(self._world, repository, back, inventories)
            needs = ledger.needs()
            doubts += [*ledger.doubts, *self._strangers(repository)]
            try:
                kept = self._keeper.kept(repository)
            except UnsupportedError as error:
                unsupported, kept = error, None
            images += [self._judged(repository.pin(one), needs[one], kept) for one in needs]
            free = [one for one in kept or () if one not in needs]
            images += [self._judged(repository.pin(one), (), kept) for one in free]
        return Survey(tuple(images), away, tuple(doubts), unsupported, back)

    def check(self, images: Sequence[Pinned], *, back: int = 1) -> None:
        """Returns when no target needs any of the images, so that they may be deleted.

        Raises:
            RefusedError: Some are needed; the message names each, and by whom.
            UnavailableError: That could not be found out everywhere.
        """
        inventories, away = self._inventories()
        wanted, doubts = list[str](), [f"{name} is away: {why}" for name, why in away.items()]
        for repository in dict.fromkeys(image.repository for image in images):
            ledger = _Needs(self._world, repository, back, inventories)
            needs = ledger.needs()
            doubts += [*ledger.doubts, *self._strangers(repository)]
            for image in (one for one in images if one.repository == repository):
                parts = [ledger.whole(image.digest), *self._children(image)]
                found = sorted({need for digest in parts for need in needs.get(digest, ())})
                wanted += [f"{image} is needed: {', '.join(map(str, found))}"] if found else []
        if wanted:
            raise RefusedError(
                "; ".join(wanted),
                hint="promote something else there first; `imagepipe protect --yes` makes Harbor keep it until then",
            )
        if doubts:
            raise UnavailableError(
                f"no target that could be asked needs {', '.join(map(str, images))}, but that is not certain: "
                + "; ".join(doubts),
                hint="delete nothing before every target answers and `imagepipe history` finds the ledger whole",
            )

    def needed_in(self, registry: str, project: str, *, back: int = 1) -> tuple[Protected, ...]:
        """Returns the images of a project that targets which answer hold, and run or would go back to."""
        inventories, _ = self._inventories()
        held = {image.repository for one in inventories.values() for image in one.images}
        ours = [one for one in held if one.registry == registry and one.path.startswith(f"{project}/")]
        needed = list[Protected]()
        for repository in sorted(ours, key=str):
            needs = _Needs(self._world, repository, back, inventories).needs()
            needed += [self._judged(repository.pin(one), needs[one], None) for one in sorted(needs)]
        return tuple(needed)

    def carry_out(self, survey: Survey) -> Survey:
        """Makes the registry keep what is needed and let go of the rest, and returns how it is then.

        Targets are asked again before anything is let go of: somebody may have thought about the question for long.

        Raises:
            UnsupportedError: This registry can keep nothing.
            RefusedError, AccessError, UnavailableError: The registry says no, or is away.
        """
        if survey.unsupported is not None:
            raise survey.unsupported
        keep, release = survey.to_keep, survey.to_release
        if keep:
            with step(self._world.events, "keep", f"{len(keep)} image{'s' if len(keep) > 1 else ''}"):
                self._keeper.keep(keep)
        if release:
            release = self._still_free(release, survey.back)
        if release:
            with step(self._world.events, "release", f"{len(release)} image{'s' if len(release) > 1 else ''}"):
                self._keeper.release(release)
        images = (replace(one, state=State.KEPT) if one.image in keep else one for one in survey.images)
        return replace(survey, images=tuple(one for one in images if one.image not in release))

    def _still_free(self, images: Sequence[Pinned], back: int) -> tuple[Pinned, ...]:
        now = self.survey(tuple(dict.fromkeys(image.repository for image in images)), back=back)
        for image in images:
            if image not in now.to_release:
                self._world.events(Warned(str(image), "stays kept: it may be needed by now"))
        return tuple(image for image in images if image in now.to_release)

    def _inventories(self) -> tuple[dict[str, Inventory], dict[str, str]]:
        """Returns what each target holds and runs, and why others could not be asked."""
        targets = list(self._world.targets.values())
        outcomes = fanout.each(
            targets, lambda target: self._world.connect(target).inventory.inventory(), jobs=self._jobs
        )
        away = {one.item.name: one.error.message for one in outcomes if one.error is not None}
        for name, why in away.items():
            self._world.events(Warned(name, f"what it runs is not known: {why}"))
        return {one.item.name: one.unwrap() for one in outcomes if one.error is None}, away

    def _judged(self, image: Pinned, needs: Iterable[Need], kept: Mapping[Digest, bool] | None) -> Protected:
        return Protected(image, tuple(sorted(needs)), self._state(image, kept))

    def _state(self, image: Pinned, kept: Mapping[Digest, bool] | None) -> State:
        if kept is not None and kept.get(image.digest):
            return State.KEPT
        try:
            self._world.source.manifest(image)
        except NotFoundError:
            return State.GONE
        return State.UNKNOWN if kept is None else State.OPEN

    def _strangers(self, repository: Repository) -> Iterator[str]:
        """Yields targets that have a ledger here and are not configured: what they need is not ours to know."""
        known = {head_tag(name) for name in self._world.targets}
        for tag in self._tags.tags(repository):
            if tag.startswith(_HEAD) and tag not in known:
                yield (
                    f"{repository.path} was promoted to {tag.removeprefix(_HEAD)}, which is not configured here"
                    f" (remove the tag {tag} if it is gone for good)"
                )

    def _children(self, image: Pinned) -> list[Digest]:
        try:
            manifest = self._world.source.manifest(image)
        except NotFoundError:
            return []
        return [child.digest for child in manifest.manifests] if isinstance(manifest, Index) else []


class _Needs:
    """What targets need of one repository."""

    def __init__(self, world: World, repository: Repository, back: int, inventories: Mapping[str, Inventory]) -> None:
        self.doubts = list[str]()
        self._world = world
        self._repository = repository
        self._back = back
        self._inventories = inventories
        # A platform's manifest, and the index of which it was promoted: keeping that keeps both.
        self._wholes: dict[Digest, Digest] = {}

    def whole(self, digest: Digest) -> Digest:
        """Returns the image that was promoted, for itself or for the manifest that targets hold of it."""
        return self._wholes.get(digest, digest)

    def needs(self) -> dict[Digest, set[Need]]:
        """Returns who needs which image, by digest."""
        found: dict[Digest, set[Need]] = {}
        running = {name: set(self._running(inventory)) for name, inventory in self._inventories.items()}
        targets = self._world.targets
        near = sorted({image for images in running.values() for image in images})
        ledgers = chains(self._repository, tuple(targets.values()), self._world, near)
        for (name, target), chain in zip(targets.items(), ledgers, strict=True):
            self.doubts += [
                f"the ledger of {name} in {self._repository.path} is broken: {one}" for one in _hiding(chain)
            ]
            self._wholes |= {entry.digest: entry.image for entry in chain.entries}
            if chain.current is not None:
                found.setdefault(chain.current.image, set()).add(Need(name, Why.CURRENT))
            ways = ways_back(self._repository, target, chain, self._world)
            for digest in list(ways)[: self._back]:
                found.setdefault(digest, set()).add(Need(name, Why.BEFORE))
        for name, digests in running.items():
            for digest in digests:
                found.setdefault(self.whole(digest), set()).add(Need(name, Why.RUNS))
        return found

    def _running(self, inventory: Inventory) -> Iterator[Digest]:
        for container in inventory.containers:
            if container.live:
                yield from container.of(self._repository)


def _hiding(chain: Chain) -> list[str]:
    """Returns what is wrong with a chain and may hide where the target is.

    A gap before that hides nothing which a rollback would go to: old images leave, and their records with them.
    """
    at = chain.current.link.sequence if chain.current else 0
    old = {place.told for place in chain.places if place.entry is None and place.sequence < at}
    return [one for one in chain.breaks if one not in old]
