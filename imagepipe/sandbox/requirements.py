"""What a machine must have for a sandbox, asked before anything is made."""

import os
import shutil
import subprocess
import tempfile
from collections.abc import Callable, Mapping
from pathlib import Path

from imagepipe.errors import SettingsError
from imagepipe.sandbox.engines import EngineApi

__all__ = ["check", "existing_engine"]

_DEFAULT_SOCKET = "/var/run/docker.sock"
# Program to the Debian package that has it.
_ALWAYS = {"docker-registry": "docker-registry", "busybox": "busybox-static"}
_OWN = {
    "dockerd": "docker.io",
    "containerd": "containerd",
    "runc": "runc",
    "iptables": "iptables",
    "ip": "iproute2",
    "nsenter": "util-linux",
    "unshare": "util-linux",
    "mount": "mount",
}
# What root of an unprivileged container may not: another network and mount namespace, and a link in it.
_TRIED = ("unshare", "--net", "--mount", "--", "ip", "link", "set", "lo", "up")
_INSTEAD = (
    "or give --engine existing: it uses the Docker Engine that already runs here as build host and behind the VCH "
    "facades, on loopback ports, without namespaces; vch-a and vch-b then share its images and networks; "
    "or --engine none, for Harbor and Sigstore alone"
)


def _may_make_namespaces() -> bool:
    """Returns whether the kernel lets us make namespaces, change a link and mount; leaves nothing of it behind.

    Root of a user namespace of its own may do all in namespaces that it makes, but not mount in the one it is in, as
    `ip netns` must.
    """
    if not _succeeds(*_TRIED):
        return False
    with tempfile.TemporaryDirectory(prefix="imagepipe-") as folder:
        return _succeeds("mount", "--bind", folder, folder) and _succeeds("umount", folder)


def _succeeds(*argv: str) -> bool:
    return subprocess.run(argv, capture_output=True, timeout=20, check=False).returncode == 0


def check(
    engine: str,
    *,
    user_id: Callable[[], int] = os.geteuid,
    which: Callable[[str], str | None] = shutil.which,
    proc: Path = Path("/proc/self/ns"),
    may_make_namespaces: Callable[[], bool] = _may_make_namespaces,
) -> None:
    """Checks that this machine can hold a sandbox.

    Args:
        engine: `own`, `existing` or `none`.
        user_id: The effective user, 0 for root.
        which: Finds a program.
        proc: Where the kernel shows the namespaces that it knows.
        may_make_namespaces: Tries it; asked only where nothing else is missing.

    Raises:
        SettingsError: Names everything that is missing, and the way round it.
    """
    wanted = _ALWAYS | (_OWN if engine == "own" else {})
    missing = [f"{program} (package {package})" for program, package in wanted.items() if which(program) is None]
    if engine == "own":
        missing += ["root"] if user_id() != 0 else []
        missing += [f"{kind} namespaces" for kind in ("net", "mnt") if not (proc / kind).exists()]
        if not missing and not may_make_namespaces():
            raise SettingsError(
                "sandbox up: this machine lacks the right to make network and mount namespaces "
                "(CAP_SYS_ADMIN, CAP_NET_ADMIN), which root of an unprivileged container does not have",
                hint=f"run it outside of the container or in a privileged one; {_INSTEAD}",
            )
    if missing:
        raise SettingsError(
            f"sandbox up: this machine lacks {', '.join(missing)}",
            hint=f"on Debian or Ubuntu run `make demo` as root, which installs them; {_INSTEAD}"
            if engine == "own"
            else "on Debian or Ubuntu install the packages named",
        )


def existing_engine(environ: Mapping[str, str]) -> Path:
    """Returns the socket of the engine that already runs: `DOCKER_HOST`, or Docker's default.

    Raises:
        SettingsError: It is no unix socket, or nothing answers there.
    """
    host = environ.get("DOCKER_HOST", "") or f"unix://{_DEFAULT_SOCKET}"
    if not host.startswith("unix://"):
        raise SettingsError(
            f"sandbox up --engine existing: DOCKER_HOST is {host}, not a unix socket",
            hint="the VCH facades stand before a local engine: unset DOCKER_HOST or give its socket",
        )
    socket = Path(host.removeprefix("unix://"))
    with EngineApi(socket) as api:
        if not api.answers():
            raise SettingsError(
                f"sandbox up --engine existing: no Docker Engine answers at {host}", hint="start it, or set DOCKER_HOST"
            )
    return socket
