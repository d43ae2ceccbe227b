"""A real dockerd and a real registry in a network namespace of their own, for the contract tests of the engine room."""

import io
import os
import subprocess
import tarfile
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path
from time import monotonic, sleep
from types import TracebackType
from typing import Final, Self

from imagepipe.engine.client import Call, Endpoint
from imagepipe.engine.stream import messages
from imagepipe.errors import ImagepipeError
from imagepipe.model.digest import Digest
from imagepipe.model.reference import Reference

OPEN_REGISTRY: Final = "127.0.0.1:5000"
CLOSED_REGISTRY: Final = "127.0.0.1:5001"
USERNAME: Final = "ci"
PASSWORD: Final = "right"
_PASSWORD_HASH: Final = "$2b$04$9CrkRjjKSVcxfjH6gI.qReUHUiwwqzFP4UQtxN1cDpB0dZEOvOrMm"
_READY_S: Final = 60.0


class Daemons:
    """One namespace with a dockerd, a registry for everybody and one that asks for a password.

    dockerd takes loopback registries without TLS, so both listen on the namespace's own loopback.

    Args:
        folder: Where everything is kept; short, because a socket's path is.
        data_bytes: The size of dockerd's disk; None for the folder's own disk.
    """

    def __init__(self, folder: Path, *, data_bytes: int | None = None) -> None:
        self.folder = folder
        self.namespace = f"ip-engine-{os.getpid()}-{folder.name[-8:]}"
        self.socket = folder / "d.sock"
        self.registries: dict[str, subprocess.Popen[bytes]] = {}
        self._data_bytes = data_bytes
        self._stack = ExitStack()

    @property
    def endpoint(self) -> Endpoint:
        return Endpoint(f"unix://{self.socket}")

    def __enter__(self) -> Self:
        with ExitStack() as stack:
            _run("ip", "netns", "add", self.namespace)
            stack.callback(_run, "ip", "netns", "del", self.namespace)
            _run(*self._inside("ip", "link", "set", "lo", "up"))
            stack.callback(self._stop_registries)
            self.start_registry(OPEN_REGISTRY)
            self.start_registry(CLOSED_REGISTRY)
            self._start_dockerd(stack)
            self._stack = stack.pop_all()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stack.close()

    def start_registry(self, registry: str) -> None:
        """Starts a registry, empty at first, with its old content later on."""
        home = self.folder / registry.replace(":", "-")
        home.mkdir(exist_ok=True)
        auth = ""
        if registry == CLOSED_REGISTRY:
            (home / "htpasswd").write_text(f"{USERNAME}:{_PASSWORD_HASH}\n")
            auth = f"auth:\n  htpasswd: {{realm: test, path: {home}/htpasswd}}\n"
        config = home / "config.yml"
        config.write_text(
            "version: 0.1\nlog: {level: error}\nstorage:\n"
            f"  filesystem: {{rootdirectory: {home}/data}}\nhttp: {{addr: '{registry}'}}\n{auth}"
        )
        self.registries[registry] = self._start("docker-registry", "serve", str(config), log=home / "log")
        self._wait(lambda: self._answers(registry), registry)

    def stop_registry(self, registry: str) -> None:
        """Ends a registry; its content stays."""
        _end(self.registries.pop(registry))

    def manifest_digest(self, name: Reference) -> Digest:
        """Returns what the registry holds under the name, read by skopeo."""
        command = self._inside("skopeo", "inspect", "--raw", "--tls-verify=false", f"docker://{name}")
        return Digest.of(subprocess.run(command, check=True, capture_output=True, timeout=60).stdout)

    def import_base(self, name: Reference) -> None:
        """Makes an image of the machine's busybox, without any registry, under the name."""
        call = Call(
            path="/images/create",
            params={"fromSrc": "-", "repo": str(name.repository), "tag": name.tag or "latest"},
            headers={"Content-Type": "application/x-tar"},
            data=[_root_filesystem()],
            silence_s=60,
        )
        with self.endpoint.stream(call) as chunks:
            list(messages(chunks))

    def _start_dockerd(self, stack: ExitStack) -> None:
        data = self.folder / "data"
        data.mkdir()
        if self._data_bytes is not None:
            _run("mount", "-t", "tmpfs", "-o", f"size={self._data_bytes}", "none", str(data))
            stack.callback(_run, "umount", "-l", str(data))
        process = self._start(
            *("dockerd", "--data-root", str(data), "--exec-root", str(self.folder / "exec")),
            *("--pidfile", str(self.folder / "pid"), "-H", f"unix://{self.socket}"),
            *("--bridge", "none", "--iptables=false", "--ip6tables=false", "--ip-forward=false", "--ip-masq=false"),
            log=self.folder / "dockerd.log",
            mounts=True,
        )
        stack.callback(_end, process)
        self._wait(lambda: self._pings(process), "dockerd")

    def _pings(self, process: subprocess.Popen[bytes]) -> bool:
        assert process.poll() is None, (self.folder / "dockerd.log").read_text()[-3000:]
        try:
            self.endpoint.version()
        except ImagepipeError:
            return False
        return True

    def _answers(self, registry: str) -> bool:
        command = self._inside("bash", "-c", f"exec 3<>/dev/tcp/{registry.replace(':', '/')}")
        return subprocess.run(command, capture_output=True, check=False, timeout=10).returncode == 0

    def _stop_registries(self) -> None:
        for registry in list(self.registries):
            self.stop_registry(registry)

    def _start(self, *command: str, log: Path, mounts: bool = False) -> subprocess.Popen[bytes]:
        private: tuple[str, ...] = ()
        if mounts:
            # An /etc/docker of its own: dockerd leaves a key in the machine's, which other tests watch.
            own = self.folder / "etc-docker"
            own.mkdir(exist_ok=True)
            script = 'mount --bind "$1" /etc/docker && shift && exec "$@"'
            private = ("unshare", "--mount", "sh", "-c", script, "sh", str(own))
        with log.open("ab") as out:
            return subprocess.Popen(self._inside(*private, *command), stdout=out, stderr=out, stdin=subprocess.DEVNULL)

    def _inside(self, *command: str) -> list[str]:
        return ["nsenter", f"--net=/run/netns/{self.namespace}", *command]

    def _wait(self, ready: Callable[[], bool], what: str) -> None:
        until = monotonic() + _READY_S
        while not ready():
            assert monotonic() < until, f"{what} did not come up"
            sleep(0.1)


def _root_filesystem() -> bytes:
    """Returns a tar with a static busybox and the commands that the tests use."""
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as archive:
        archive.add("/bin/busybox", "bin/busybox")
        for command in ("sh", "true", "false", "echo", "cat", "ls", "sleep", "dd", "test", "yes", "head"):
            link = tarfile.TarInfo(f"bin/{command}")
            link.type, link.linkname = tarfile.SYMTYPE, "busybox"
            archive.addfile(link)
        for folder in ("tmp", "etc", "proc", "sys", "dev"):
            entry = tarfile.TarInfo(folder)
            entry.type, entry.mode = tarfile.DIRTYPE, 0o755
            archive.addfile(entry)
    return buffer.getvalue()


def _run(*command: str) -> None:
    subprocess.run(command, check=True, capture_output=True, timeout=30)


def _end(process: subprocess.Popen[bytes]) -> None:
    process.terminate()
    try:
        process.wait(20)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait(20)
