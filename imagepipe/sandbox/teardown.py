"""Taking a sandbox away, whole or in pieces: what its directory's name leads to is found, recorded or not."""

import contextlib
import shutil
import subprocess
from pathlib import Path

from imagepipe.errors import ImagepipeError, InputError, UnavailableError
from imagepipe.sandbox import namespaces
from imagepipe.sandbox.engines import EngineApi
from imagepipe.sandbox.layout import Layout
from imagepipe.sandbox.processes import end_all, end_containers, marked
from imagepipe.sandbox.standins import Places
from imagepipe.sandbox.state import Record, State

__all__ = ["clear", "recorded", "remains", "remove", "remove_empty"]

_CGROUPS = Path("/sys/fs/cgroup")


def remains(layout: Layout) -> bool:
    """Returns whether anything of a sandbox is there: its record, or what its name leads to without one."""
    return layout.state_file.exists() or bool(namespaces.present(layout)) or bool(marked(layout.world_id))


def remove(layout: Layout) -> None:
    """Removes everything, the directory included; call it with the directory locked.

    Where the directory is the place of a mount, it stays, and empty: the mount is not ours.

    Raises:
        UnavailableError: Something of it cannot be removed; run it again.
    """
    made = clear(layout)
    with contextlib.suppress(FileNotFoundError):
        if not layout.directory.is_mount():
            layout.directory.rmdir()
    _remove_made(layout, made)


def clear(layout: Layout) -> tuple[str, ...]:
    """Removes everything but the directory itself, which becomes empty.

    The state file goes last: whatever stops us half-way, the next call still knows what there was.

    Returns:
        The folders outside of the directory that `up` had made.
    """
    state = recorded(layout)
    end_containers(layout.cgroup)
    if state is not None and state.engine == "existing":
        _leave_engine(state)
    end_all(state.processes if state else (), world_id=layout.world_id)
    end_containers(layout.cgroup)
    namespaces.remove(layout)
    _unmount(layout)
    _remove_cgroups(layout)
    _remove_files(layout)
    return state.made_directories if state else ()


def recorded(layout: Layout) -> State | None:
    """Returns the state if it can be read; names and marks lead to nearly everything without it."""
    try:
        return Record.read(layout.state_file)
    except InputError:
        return None


def _leave_engine(state: State) -> None:
    """Removes the networks that we made in an engine that is not ours; one that is still in use stays."""
    if not state.endpoints:
        return
    with EngineApi(Path(Places.of(state.endpoints).build.removeprefix("unix://"))) as api:
        for network in state.engine_networks:
            with contextlib.suppress(ImagepipeError):
                api.remove_network(network)


def _unmount(layout: Layout) -> None:
    """Unmounts what lies below the directory, the deepest first; normally nothing, for engines mount in private."""
    prefix = f"{layout.directory}/"
    # Source: proc_pid_mountinfo(5): field 5 is the mount point, a space in it written \040.
    points = [line.split()[4].replace("\\040", " ") for line in Path("/proc/self/mountinfo").read_text().splitlines()]
    for point in sorted((point for point in points if point.startswith(prefix)), key=len, reverse=True):
        subprocess.run(["umount", "--lazy", point], capture_output=True, timeout=20, check=False)


def _remove_cgroups(layout: Layout) -> None:
    """Removes the control groups that engines made for containers, in every hierarchy of version 1, or in version 2."""
    for top in (*_CGROUPS.glob(layout.cgroup), *_CGROUPS.glob(f"*/{layout.cgroup}")):
        groups = sorted((path for path in top.rglob("*") if path.is_dir()), key=lambda path: len(path.parts))
        for group in (*reversed(groups), top):
            with contextlib.suppress(OSError):  # cpuset and cpu may be two names of one hierarchy
                group.rmdir()


def _remove_files(layout: Layout) -> None:
    if not layout.directory.is_dir():
        return
    entries = sorted(layout.directory.iterdir(), key=lambda path: path == layout.state_file)
    for entry in entries:
        if entry.is_dir() and not entry.is_symlink():
            shutil.rmtree(entry, ignore_errors=True)
        elif entry != layout.state_file or not _others(layout):
            entry.unlink(missing_ok=True)
    if left := _others(layout):
        raise UnavailableError(f"sandbox files cannot be removed: {', '.join(str(path) for path in left)}")


def _others(layout: Layout) -> list[Path]:
    return [path for path in layout.directory.iterdir() if path != layout.state_file]


def _remove_made(layout: Layout, made: tuple[str, ...]) -> None:
    for folder in made:
        shared = not layout.directory.is_relative_to(folder)
        if shared and namespaces.others_present(layout):
            continue  # another sandbox has it mounted over; removing it here would unmount it there
        if folder == str(namespaces.NAMESPACES):  # `ip netns` mounts it on itself; busy while any namespace is left
            subprocess.run(["umount", folder], capture_output=True, timeout=20, check=False)
        remove_empty((folder,))


def remove_empty(folders: tuple[str, ...]) -> None:
    """Removes those of the folders that are empty; another that is not, or is gone, is no error."""
    for folder in folders:
        with contextlib.suppress(OSError):
            Path(folder).rmdir()
