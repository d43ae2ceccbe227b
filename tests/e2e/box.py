"""The sandbox as tests use it: what it holds, how its parts misbehave, and configurations that differ in a bit."""

import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
import tomllib
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx

from imagepipe.sandbox.layout import REGISTRY_NAMESPACE, Layout
from imagepipe.sandbox.namespaces import enter
from imagepipe.sandbox.probing import trusting, wait_for
from imagepipe.sandbox.processes import Starter, end_one, run
from imagepipe.sandbox.state import ProcessRecord, Record, write_private
from imagepipe.sandbox.world import World
from tests.e2e.registry import Registry

_READY_S = 20.0


@dataclass(frozen=True, slots=True)
class Host:
    """One Docker endpoint, asked without imagepipe."""

    url: str
    cert_path: Path | None = None
    socket: str | None = None

    def get(self, path: str, **params: str) -> httpx.Response:
        """Returns the answer to a GET."""
        return self._ask("GET", path, params)

    def delete(self, path: str) -> None:
        """Deletes what is there."""
        assert self._ask("DELETE", path, {}).is_success, path

    def holds(self, pinned: str) -> bool:
        """Tells whether the host knows `repository@digest`."""
        return self.get(f"/v1.25/images/{pinned}/json").status_code == 200

    def images(self, repository: str) -> list[str]:
        """Returns the tags and digests that the host has for a repository."""
        rows = self.get("/v1.25/images/json").json()
        names = [name for row in rows for name in (*(row["RepoTags"] or ()), *(row["RepoDigests"] or ()))]
        return sorted(name for name in names if f"/{repository}" in name)

    def containers(self) -> list[str]:
        """Returns the ids of all containers, ended ones too."""
        return [row["Id"] for row in self.get("/v1.25/containers/json", all="1").json()]

    def volumes(self) -> list[str]:
        """Returns the names of all volumes."""
        return [row["Name"] for row in self.get("/v1.25/volumes").json()["Volumes"] or ()]

    def _ask(self, method: str, path: str, params: Mapping[str, str]) -> httpx.Response:
        tls = trusting(self.cert_path / "ca.pem", self.cert_path) if self.cert_path else False
        transport = httpx.HTTPTransport(uds=self.socket) if self.socket else httpx.HTTPTransport(verify=tls)
        with httpx.Client(transport=transport, base_url=self.url, timeout=20.0) as client:
            return client.request(method, path, params=params)


@dataclass(slots=True)
class Box:
    """One sandbox that is up.

    Attributes:
        document: What `sandbox status --json` said.
        folder: Where configurations, tokens and the like of the tests go.
        secrets: What must never be seen anywhere, beside the sandbox's own.
    """

    document: dict[str, Any]
    folder: Path
    secrets: list[str] = field(default_factory=list)
    _made: int = 0

    @property
    def directory(self) -> Path:
        """The sandbox's directory."""
        return Path(self.document["dir"])

    @property
    def layout(self) -> Layout:
        """Where everything in it lies."""
        return Layout.at(self.directory)

    @property
    def world(self) -> World:
        """The sandbox itself."""
        return World.load(self.directory)

    @property
    def registry(self) -> Registry:
        """The registry, as CI."""
        return Registry(self.document["registry"])

    @property
    def admin(self) -> Registry:
        """The registry, as its administrator."""
        return Registry(self.document["registry"], "admin")

    @property
    def issuer(self) -> str:
        """The OIDC issuer that the policy trusts."""
        return str(self.document["sigstore"]["issuer"])

    def host(self, name: str) -> Host:
        """Returns a target."""
        row = self.document["targets"][name]
        return Host(row["host"].replace("tcp://", "https://"), Path(row["cert_path"]))

    @property
    def build_host(self) -> Host:
        """The engine that builds."""
        return Host("http://engine", socket=self.document["build_host"]["host"].removeprefix("unix://"))

    def closed(self, target: str) -> str:
        """Returns the address of a target at a port where nothing listens."""
        return f"{self.document['targets'][target]['host'].rpartition(':')[0]}:1"

    def config(self, changes: Mapping[str, Any]) -> Path:
        """Returns a copy of the sandbox's configuration with dotted keys changed; None takes a key out."""
        data = tomllib.loads(Path(self.document["config"]).read_text())
        for dotted, value in changes.items():
            *tables, key = dotted.split(".")
            place = data
            for table in tables:
                place = place.setdefault(table, {})
            if value is None:
                place.pop(key, None)
            else:
                place[key] = value
        file = self.file("toml")
        file.write_text("\n".join(_toml(data)) + "\n")
        return file

    def everybody_away(self) -> Path:
        """Returns a configuration in which no target can be reached: whoever touches one fails with exit 8."""
        return self.config({f"targets.{name}.host": self.closed(name) for name in self.document["targets"]})

    def file(self, suffix: str) -> Path:
        """Returns a path for a new file."""
        self._made += 1
        return self.folder / f"{self._made}.{suffix}"

    def secret_file(self, text: str) -> Path:
        """Writes a secret to a file of its own, and remembers that nobody may ever see it."""
        self.secrets.append(text)
        file = self.file("secret")
        write_private(file, f"{text}\n")
        return file

    def token(self, *, issuer: str | None = None, **claims: Any) -> dict[str, str]:
        """Returns the variable that makes imagepipe sign with a token of these claims; `email` alone is enough."""
        wanted = {"sub": claims.get("email"), "email_verified": True, **claims}
        answer = httpx.post(f"{issuer or self.issuer}/mint", json=wanted, timeout=10.0, trust_env=False)
        return {"IMAGEPIPE_SIGNING__IDENTITY_TOKEN_FILE": str(self.secret_file(answer.raise_for_status().text))}

    @contextmanager
    def vch_faults(self, name: str, **switches: Any) -> Iterator[None]:
        """Makes a VCH misbehave meanwhile; see `imagepipe.sandbox.vch.faults`."""
        yield from _switched(self.layout.configuration(f"{name}-faults.json"), switches)

    @contextmanager
    def registry_faults(self, **switches: Any) -> Iterator[None]:
        """Makes Harbor misbehave meanwhile; see `imagepipe.sandbox.harbor.faults`."""
        yield from _switched(self.layout.configuration("harbor-faults.json"), switches)

    def kill(self, name: str) -> None:
        """Kills a process of the sandbox, as a crash would, and waits until nothing of it is left."""
        pid = self._process(name).pid
        os.kill(pid, signal.SIGKILL)
        deadline = time.monotonic() + _READY_S
        while Path(f"/proc/{pid}").exists():
            with suppress(ChildProcessError):
                os.waitpid(pid, os.WNOHANG)  # one that a test started is ours to reap
            assert time.monotonic() < deadline, f"{name} does not end"
            time.sleep(0.02)

    def start_again(self, name: str) -> None:
        """Starts a process that was killed, as the sandbox did, and waits until it answers."""
        layout, old = self.layout, self._process(name)
        new = Starter(world_id=layout.world_id, directory=layout.directory).start(name, old.argv, Path(old.log))
        state = Record.read(layout.state_file)
        assert state is not None
        Record(layout.state_file, state).add_process(new)
        if name == "harbor":
            url, tls = f"{self.registry.part['url']}/v2/", trusting(layout.registry_ca)
        else:
            url, certificates = f"{self.host(name).url}/_ping", self.host(name).cert_path
            assert certificates is not None
            tls = trusting(certificates / "ca.pem", certificates)
        wait_for(new, url, timeout_s=_READY_S, tls=tls)

    def _process(self, name: str) -> ProcessRecord:
        state = Record.read(self.layout.state_file)
        assert state is not None
        return next(process for process in state.processes if process.name == name)

    def wait_for_pull(self, target: str) -> None:
        """Returns as soon as the engine of a target fetches a layer.

        Source: moby v20.10.24 distribution/pull_v2.go: the file is made before the registry is asked.
        """
        staged = self.layout.engine(target) / "data" / "tmp"
        deadline = time.monotonic() + _READY_S
        while not any(staged.glob("GetImageBlob*")):
            assert time.monotonic() < deadline, f"{target} fetches nothing"
            time.sleep(0.02)

    @contextmanager
    def cut_off(self, target: str) -> Iterator[None]:
        """Lets nothing of a target reach this machine meanwhile; the registry still hears it."""
        way = ("route", "{}", "blackhole", f"{self.document['targets'][target]['host'].rpartition('.')[0][6:]}.254/32")
        namespace = self.layout.namespace(target)
        run(["ip", "-n", namespace, *(word.format("add") for word in way)])
        try:
            yield
        finally:
            run(["ip", "-n", namespace, *(word.format("delete") for word in way)])

    @contextmanager
    def full_disk(self, target: str) -> Iterator[None]:
        """Leaves no room meanwhile where the engine of a target puts layers that come in."""
        inside = ["nsenter", f"--target={self._process(target).pid}", "--mount", "--"]
        staged = str(self.layout.engine(target) / "data" / "tmp")
        run([*inside, "mount", "-t", "tmpfs", "-o", "nr_inodes=1", "tmpfs", staged])
        try:
            yield
        finally:
            run([*inside, "umount", staged])

    def let_harbor_fail(self) -> None:
        """Starts Harbor again with a file of faults to watch, unless it watches one; all else stays as it is."""
        layout, file = self.layout, self.layout.configuration("harbor.json")
        settings = json.loads(file.read_text())
        if settings.get("faults_file"):
            return
        state = Record.read(layout.state_file)
        assert state is not None
        old = next(process for process in state.processes if process.name == "harbor")
        end_one(old)
        write_private(file, json.dumps({**settings, "faults_file": str(layout.configuration("harbor-faults.json"))}))
        starter = Starter(world_id=layout.world_id, directory=layout.directory)
        argv = [*enter(layout.namespace(REGISTRY_NAMESPACE)), sys.executable, "-m", "imagepipe.sandbox.harbor"]
        new = starter.start("harbor", [*argv, "--config", str(file)], layout.log("harbor"))
        Record(layout.state_file, state).add_process(new)
        wait_for(new, f"{self.registry.part['url']}/v2/", timeout_s=_READY_S, tls=trusting(layout.registry_ca))

    @contextmanager
    def sigstore_beside(self, *, same_keys: bool, clock_offset_s: float = 0) -> Iterator[tuple[str, Path]]:
        """Runs another Sigstore meanwhile, and yields its issuer and its trust config.

        Args:
            same_keys: Another issuer before the same authority and log; else all of it is foreign.
            clock_offset_s: By how much its clock is wrong.
        """
        state = self.file("sigstore")
        if same_keys:
            shutil.copytree(self.layout.sigstore, state)
        with socket.create_server(("127.0.0.1", 0)) as free:
            port = free.getsockname()[1]
        url, file = f"http://127.0.0.1:{port}", self.file("json")
        listen = {"host": "127.0.0.1", "port": port}
        file.write_text(
            json.dumps(
                {"listen": listen, "external_url": url, "state_dir": str(state), "clock_offset_s": clock_offset_s}
            )
        )
        argv = [sys.executable, "-m", "imagepipe.sandbox.sigstore", "--config", str(file)]
        with self.file("log").open("wb") as log, subprocess.Popen(argv, stdout=log, stderr=log) as process:
            try:
                _wait_until_answers(f"{url}/healthz")
                yield url, state / "trust_config.json"
            finally:
                process.terminate()
                process.wait(timeout=10)


def _switched(file: Path, switches: Mapping[str, Any]) -> Iterator[None]:
    write_private(file, json.dumps(switches))
    try:
        yield
    finally:
        write_private(file, "{}")


def _wait_until_answers(url: str) -> None:
    deadline = time.monotonic() + _READY_S
    while True:
        try:
            httpx.get(url, timeout=2.0, trust_env=False).raise_for_status()
        except httpx.HTTPError:
            if time.monotonic() > deadline:
                raise
            time.sleep(0.05)
        else:
            return


def _toml(data: Mapping[str, Any], name: str = "") -> Iterator[str]:
    """Yields the lines of a table, its plain values before its own tables."""
    if name:
        yield f"[{name}]"
    for key, value in data.items():
        if not isinstance(value, Mapping):
            yield f"{key} = {_value(value)}"
    for key, value in data.items():
        if isinstance(value, Mapping):
            yield from _toml(value, f"{name}.{key}" if name else key)


def _value(value: Any) -> str:
    if isinstance(value, list):
        return f"[{', '.join(_value(one) for one in value)}]"
    if isinstance(value, Mapping):
        return f"{{ {', '.join(f'{key} = {_value(one)}' for key, one in value.items())} }}"
    return json.dumps(value)
