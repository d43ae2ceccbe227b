"""Finds pipeline files, reads and checks them, and returns them in the order to build; builds nothing.

>>> find_folder(Path("/nowhere")) is None
True
"""

import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, Final

from imagepipe.build.graph import order
from imagepipe.build.naming import VARIABLES, check_template, used
from imagepipe.build.schema import PipelineDocument
from imagepipe.documents import Document, read_document
from imagepipe.errors import ImagepipeError, InputError, NotFoundError
from imagepipe.model.digest import Digest
from imagepipe.model.host import VCH_PLATFORM
from imagepipe.model.manifest import Platform
from imagepipe.model.pipeline import Attest, BuildSpec, Pipeline, Sign
from imagepipe.model.reference import Reference, Repository
from imagepipe.problems import Key, did_you_mean, dotted

__all__ = ["find_folder", "load_pipelines", "override"]

_FOLDER: Final = "pipelines"
_SUFFIX: Final = ".yaml"
# Source: docker build "PATH | URL | -": URL contexts, and git's own scp-like form.
_REMOTE_CONTEXT: Final = re.compile(r"[a-z][a-z0-9+.-]*://|git@|github\.com/")


def load_pipelines(
    names: Iterable[str | Path], *, root: Path, registry: str, assignments: Sequence[str] = ()
) -> tuple[Pipeline, ...]:
    """Returns the pipelines named and all that they need, each after what it needs.

    Args:
        names: `hello` is `pipelines/hello.yaml`, searched from `root` upwards; what ends in .yaml or .yml, or holds
            a slash, is a file. None named: every file of the `pipelines` folder.
        root: The working directory; paths in messages are relative to it.
        registry: Where the images go, `host` or `host:port`.
        assignments: `path=value`, put over every pipeline that was named, not over what those need.

    Raises:
        NotFoundError: There is no such pipeline or file.
        InputError: A file is wrong; lists every problem of it as `file:line:column: key: what`.
        UsageError: An assignment makes no sense.
    """
    loader = _Loader(root, registry)
    files = loader.files(names)
    named = [loader.load(file, assignments) for file in files]
    return order(loader.with_needs(named))


def override(document: Document, assignments: Iterable[str]) -> Document:
    """Returns the document with `path=value` assignments put over it; errors name `--set` as their origin.

    Raises:
        UsageError: An assignment makes no sense.
    """
    return document.override(assignments)


def find_folder(root: Path) -> Path | None:
    """Returns the nearest `pipelines` folder from `root` upwards, or None."""
    for folder in (root, *root.parents):
        if (folder / _FOLDER).is_dir():
            return folder / _FOLDER
    return None


class _Loader:
    """Reads files, named as they stand below one root."""

    def __init__(self, root: Path, registry: str) -> None:
        self.root = root.resolve()
        self.registry = registry
        self.folder = find_folder(self.root)

    def files(self, names: Iterable[str | Path]) -> list[Path]:
        given = list(names)
        if given:
            return list(dict.fromkeys(self.file(name) for name in given))
        found = self.available()
        if not found:
            where = self.shown(self.folder) if self.folder else f"{self.root} or above"
            raise NotFoundError(
                f"no pipelines in {where}" if self.folder else f"no {_FOLDER} folder in {where}",
                hint=f"write {_FOLDER}/<name>{_SUFFIX}, or name a file",
            )
        return found

    def file(self, name: str | Path) -> Path:
        if isinstance(name, Path) or "/" in name or name.endswith((_SUFFIX, ".yml")):
            return _resolved(self.root / name)
        if self.folder and _is_file(self.folder / f"{name}{_SUFFIX}"):
            return (self.folder / f"{name}{_SUFFIX}").resolve()
        known = [path.stem for path in self.available()]
        there = f"there are {', '.join(known)}" if known else "there are none"
        raise NotFoundError(
            f"no pipeline named {name!r}{did_you_mean(name, known)} ({there})",
            hint=f"write {_FOLDER}/{name}{_SUFFIX}, or name a file",
        )

    def available(self) -> list[Path]:
        found = self.folder.glob(f"*{_SUFFIX}") if self.folder else ()
        return sorted(_resolved(path) for path in found if not path.is_dir())

    def load(self, file: Path, assignments: Sequence[str] = ()) -> Pipeline:
        document = override(read_document(file, shown_as=self.shown(file)), assignments)
        return _pipeline(document, file, self.registry)

    def with_needs(self, named: list[Pipeline]) -> list[Pipeline]:
        """Returns the pipelines and, behind them, every file beside them that they need and that was not named."""
        found = list(named)
        for pipeline in found:  # grows while it is walked: what is needed has needs of its own
            for need in pipeline.needs:
                beside = _resolved(pipeline.file.parent / f"{need}{_SUFFIX}")
                if all(need != other.name and beside != other.file for other in found) and _is_file(beside):
                    found.append(replace(self.load(beside), requested=False))
        return found

    def shown(self, path: Path) -> str:
        return str(path.relative_to(self.root)) if path.is_relative_to(self.root) else str(path)


def _pipeline(document: Document, file: Path, registry: str) -> Pipeline:
    parsed = document.validate(PipelineDocument)
    problems = [*_unbuilt(parsed), *_wrong(parsed, file.parent, registry)]
    if problems:
        raise _refusal(document, problems)
    return Pipeline(
        name=parsed.name,
        project=parsed.project,
        build=BuildSpec(
            context=(file.parent / parsed.build.context).resolve(),
            dockerfile=parsed.build.dockerfile,
            target=parsed.build.target,
            args=parsed.build.args,
            platforms=tuple(Platform.parse(platform) for platform in parsed.build.platforms),
            builder=parsed.build.builder,
            profile=parsed.build.profile,
        ),
        needs=tuple(parsed.needs),
        tags=tuple(parsed.tags),
        paths=tuple(parsed.paths or ()),
        labels=parsed.labels,
        sign=Sign(tuple(parsed.sign.format)),
        attest=Attest(parsed.attest.provenance, parsed.attest.sbom),
        file=file,
        digest=Digest.of(document.raw),
        lines={dotted(key): document.where(key) for key in _keys(document.data, ())},
    )


def _refusal(document: Document, problems: list[tuple[Key, str, type[ImagepipeError]]]) -> ImagepipeError:
    """Returns one error for all; NotFoundError where nothing but absent files is wrong."""
    kinds = {kind for _, _, kind in problems}
    kind = kinds.pop() if len(kinds) == 1 else InputError
    return kind("\n".join(document.problem(key, what) for key, what, _ in problems), hint="correct the pipeline file")


def _unbuilt(parsed: PipelineDocument) -> Iterator[tuple[Key, str, type[ImagepipeError]]]:
    """Yields what the format knows and imagepipe cannot do yet: it is refused, never left out in silence."""
    build = parsed.build
    asked: list[tuple[Key, str, bool]] = [
        (("build", "secrets"), "build secrets", bool(build.secrets)),
        (("build", "platforms"), "more than one platform", len(build.platforms) > 1),
        (("build", "builder"), "builder buildx", build.builder == "buildx"),
        (("build", "profile"), "profile oci", build.profile == "oci"),
        (("build", "context"), "a git URL as context", bool(_REMOTE_CONTEXT.match(build.context))),
        (("matrix",), "a matrix", bool(parsed.matrix)),
        (("sign", "format"), "format legacy", "legacy" in parsed.sign.format),
        (("attest", "sbom"), "sbom: true", parsed.attest.sbom is True),
    ]
    for key, what, used_here in asked:
        if used_here:
            yield key, f"{what} is not supported yet", InputError


def _wrong(parsed: PipelineDocument, folder: Path, registry: str) -> Iterator[tuple[Key, str, type[ImagepipeError]]]:
    wrong = _wrong_names(parsed, registry)
    yield from wrong
    repository = Repository(registry, "project/name" if wrong else f"{parsed.project}/{parsed.name}")
    yield from _wrong_templates(parsed, repository)
    yield from _wrong_platforms(parsed.build.platforms)
    if not _REMOTE_CONTEXT.match(parsed.build.context):
        yield from _wrong_files(parsed, folder)
    for index, need in enumerate(parsed.needs):
        if need in parsed.needs[:index]:
            yield ("needs", index), f"{need} stands twice", InputError
        if need == parsed.name:
            yield ("needs", index), f"{need} cannot need itself", InputError


def _wrong_names(parsed: PipelineDocument, registry: str) -> list[tuple[Key, str, type[ImagepipeError]]]:
    """Returns what is wrong with the parts of the repository's name, or else with the whole."""
    parts = {"project": f"{parsed.project}/x", "name": f"x/{parsed.name}"}
    told = {"project": parsed.project, "name": parsed.name}
    found = [(key, error) for key, path in parts.items() if (error := _no_repository(registry, path))]
    if not found and (error := _no_repository(registry, f"{parsed.project}/{parsed.name}")):
        found = [("name", error)]
    return [((key,), f"not a repository name: {told[key][:120]!r}; {error.hint}", InputError) for key, error in found]


def _no_repository(registry: str, path: str) -> ImagepipeError | None:
    try:
        Repository(registry, path)
    except ImagepipeError as error:
        return error
    return None


def _wrong_templates(
    parsed: PipelineDocument, repository: Repository
) -> Iterator[tuple[Key, str, type[ImagepipeError]]]:
    for index, template in enumerate(parsed.tags):
        wrong = check_template(template)
        if not wrong:
            sample = template
            for name in used(template) & set(VARIABLES):
                sample = sample.replace(f"{{{name}}}", "x")
            wrong = _not_a_tag(repository, sample, template)
        if wrong:
            yield ("tags", index), wrong, InputError
    for label, template in parsed.labels.items():
        wrong = check_template(template)
        if wrong:
            yield ("labels", label), wrong, InputError


def _not_a_tag(repository: Repository, sample: str, template: str) -> str | None:
    try:
        Reference(repository, tag=sample)
    except InputError as error:
        return f"{template!r} makes no tag: {error.hint}"
    return None


def _wrong_platforms(platforms: list[str]) -> Iterator[tuple[Key, str, type[ImagepipeError]]]:
    for index, text in enumerate(platforms):
        try:
            Platform.parse(text)
        except InputError as error:
            yield ("build", "platforms", index), f"{error.message}; {error.hint}", InputError
        else:
            if text != VCH_PLATFORM:
                what = f"a VCH runs {VCH_PLATFORM} only, and other platforms are not supported yet"
                yield ("build", "platforms", index), what, InputError


def _wrong_files(parsed: PipelineDocument, folder: Path) -> Iterator[tuple[Key, str, type[ImagepipeError]]]:
    context = _resolved(folder / parsed.build.context)
    if not _is_there(context, Path.is_dir):
        yield ("build", "context"), f"no such folder: {context}", NotFoundError
        return
    dockerfile = _resolved(context / parsed.build.dockerfile)
    if not dockerfile.is_relative_to(context):
        yield ("build", "dockerfile"), f"{dockerfile} lies outside the context {context}", InputError
    elif not _is_file(dockerfile):
        yield ("build", "dockerfile"), f"no such file: {dockerfile}", NotFoundError


def _resolved(path: Path) -> Path:
    """Returns where a path leads; itself where that is nowhere: links in a circle, a name that no file can have."""
    try:
        return path.resolve()
    except (OSError, ValueError, RuntimeError):
        return path


def _is_file(path: Path) -> bool:
    return _is_there(path, Path.is_file)


def _is_there(path: Path, look: Callable[[Path], bool]) -> bool:
    try:
        return look(path)
    except OSError:  # a name that is too long, or a folder that we may not look into
        return False


def _keys(data: Any, key: Key) -> Iterator[Key]:
    yield key
    if isinstance(data, Mapping):
        for name, value in data.items():
            yield from _keys(value, (*key, name))
    elif isinstance(data, list):
        for index, value in enumerate(data):
            yield from _keys(value, (*key, index))
