"""One private world for the facade: a namespace with a real dockerd, a real registry and the facade between them."""

import gc
import json
import os
import shutil
import signal
import ssl
import subprocess
import sys
import tempfile
import time
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from ipaddress import ip_address
from pathlib import Path
from typing import Any

import httpx
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

READY_S = 30.0
REGISTRY_PORT = 5443


class Authority:
    """A private CA that writes PEM files; `shift` moves the life of what it issues from then on."""

    def __init__(self, name: str) -> None:
        self.shift = timedelta(0)
        self._key = ec.generate_private_key(ec.SECP256R1())
        self._name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
        builder = self._builder(self._name, self._key.public_key())
        constraints = x509.BasicConstraints(ca=True, path_length=None)
        self.certificate = builder.add_extension(constraints, critical=True).sign(self._key, hashes.SHA256())

    def _builder(self, subject: x509.Name, key: ec.EllipticCurvePublicKey) -> x509.CertificateBuilder:
        now = datetime.now(UTC) + self.shift
        return (
            x509.CertificateBuilder()
            .subject_name(subject)
            .issuer_name(self._name)
            .public_key(key)
            .serial_number(x509.random_serial_number())
            .not_valid_before(now - timedelta(minutes=5))
            .not_valid_after(now + timedelta(days=1))
        )

    def issue(self, name: str, address: str, cert: Path, key: Path, ca: Path) -> None:
        """Writes a certificate that serves at `address` and identifies a client."""
        private = ec.generate_private_key(ec.SECP256R1())
        subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
        signed = (
            self._builder(subject, private.public_key())
            .add_extension(x509.SubjectAlternativeName([x509.IPAddress(ip_address(address))]), critical=False)
            .add_extension(
                x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH, ExtendedKeyUsageOID.CLIENT_AUTH]),
                critical=False,
            )
            .sign(self._key, hashes.SHA256())
        )
        pem = serialization.Encoding.PEM
        cert.write_bytes(signed.public_bytes(pem))
        ca.write_bytes(self.certificate.public_bytes(pem))
        plain = serialization.NoEncryption()
        key.write_bytes(private.private_bytes(pem, serialization.PrivateFormat.PKCS8, plain))


@dataclass
class World:
    """Addresses and files of a running world."""

    directory: Path
    namespace: str
    address: str
    processes: dict[str, subprocess.Popen[bytes]] = field(default_factory=dict)

    @property
    def registry(self) -> str:
        return f"{self.address}:{REGISTRY_PORT}"

    @property
    def engine_socket(self) -> str:
        return str(self.directory / "docker.sock")

    @property
    def client_certs(self) -> Path:
        return self.directory / "client"

    @property
    def stranger_certs(self) -> Path:
        return self.directory / "stranger"

    @property
    def faults_file(self) -> Path:
        return self.directory / "faults.json"

    def config(self, **changes: Any) -> dict[str, Any]:
        """The facade's JSON."""
        base = {
            "listen": {"host": self.address, "port": 2376},
            "tls": {
                "cert_file": str(self.client_certs / "cert.pem"),
                "key_file": str(self.client_certs / "key.pem"),
                "client_ca_file": str(self.client_certs / "ca.pem"),
            },
            "engine_socket": self.engine_socket,
            "name": "vch-test",
            "vic_version": "1.5.8",
            "registry_ca_files": {self.registry: str(self.client_certs / "ca.pem")},
            "whitelist": [self.registry],
            "insecure_registries": [],
            "volume_stores": ["default"],
            "networks": {"bridge": "bridge", "public": "external"},
            "state_file": str(self.directory / "vch-state.json"),
            "faults": {},
            "faults_file": str(self.faults_file),
        }
        return {**base, **changes}

    def docker(self, *words: str, text: str | None = None, timeout_s: float = 60) -> subprocess.CompletedProcess[str]:
        """Runs the docker CLI against the facade over mutual TLS."""
        environment = {
            "PATH": os.environ["PATH"],
            "HOME": str(self.directory),
            "DOCKER_HOST": f"tcp://{self.address}:2376",
            "DOCKER_TLS_VERIFY": "1",
            "DOCKER_CERT_PATH": str(self.client_certs),
        }
        return subprocess.run(
            ["docker", *words],
            env=environment,
            input=text,
            capture_output=True,
            text=True,
            timeout=timeout_s,
            check=False,
        )

    def client(self, certs: Path | None = None) -> httpx.Client:
        """An HTTP client of the facade."""
        certs = certs or self.client_certs
        context = ssl.create_default_context(cafile=str(self.client_certs / "ca.pem"))
        context.load_cert_chain(certs / "cert.pem", certs / "key.pem")
        return httpx.Client(base_url=f"https://{self.address}:2376", verify=context, timeout=60)

    def registry_client(self) -> httpx.Client:
        context = ssl.create_default_context(cafile=str(self.client_certs / "ca.pem"))
        return httpx.Client(base_url=f"https://{self.registry}", verify=context, timeout=60)

    def engine_client(self) -> httpx.Client:
        """An HTTP client of the dockerd below, past the facade."""
        return httpx.Client(transport=httpx.HTTPTransport(uds=self.engine_socket), base_url="http://engine", timeout=60)

    def fault(self, **switches: object) -> None:
        """Sets the fault switches, all others off."""
        fresh = self.faults_file.with_suffix(".new")
        fresh.write_text(json.dumps(switches))
        fresh.replace(self.faults_file)

    def start(self, name: str, *command: str) -> subprocess.Popen[bytes]:
        """Starts a process in the namespace; its output goes to a file."""
        with (self.directory / f"{name}.log").open("ab") as log:
            process = subprocess.Popen(
                ["nsenter", f"--net=/run/netns/{self.namespace}", *command], stdout=log, stderr=log
            )
        self.processes[name] = process
        return process

    def start_facade(self, **changes: Any) -> subprocess.Popen[bytes]:
        path = self.directory / "vch.json"
        path.write_text(json.dumps(self.config(**changes)))
        process = self.start("facade", sys.executable, "-m", "imagepipe.sandbox.vch", "--config", str(path))
        with self.client() as client:
            wait_for(lambda: client.get("/_ping").status_code == 200)
        return process

    def stop(self, name: str) -> float:
        """Stops a process and returns the seconds it took."""
        process = self.processes.pop(name)
        began = time.monotonic()
        process.send_signal(signal.SIGTERM)
        try:
            process.wait(20)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait(5)
        return time.monotonic() - began


def wait_for(ready: Callable[[], bool], limit_s: float = READY_S) -> None:
    with warnings.catch_warnings():
        # httpcore 1.0 leaves a unix socket that was refused to the collector.
        warnings.simplefilter("ignore", ResourceWarning)
        try:
            _wait_for(ready, limit_s)
        finally:
            gc.collect()


def _wait_for(ready: Callable[[], bool], limit_s: float) -> None:
    deadline = time.monotonic() + limit_s
    while True:
        try:
            if ready():
                return
        except (httpx.TransportError, OSError):
            pass
        if time.monotonic() > deadline:
            raise TimeoutError("the world did not come up")
        time.sleep(0.1)


def run(*command: str) -> None:
    subprocess.run(command, check=True, capture_output=True, timeout=30)


@contextmanager
def running_world() -> Iterator[World]:
    """A world that is up, and gone afterwards."""
    number = os.getpid() % 250
    namespace = f"vchtest{os.getpid()}"
    inside, outside = f"198.19.{number}.2", f"198.19.{number}.1"
    world = World(Path(tempfile.mkdtemp(prefix="vch-", dir="/tmp")), namespace, inside)
    veth = f"vt{os.getpid()}"
    try:
        run("ip", "netns", "add", namespace)
        run("ip", "link", "add", f"{veth}a", "type", "veth", "peer", "name", f"{veth}b", "netns", namespace)
        run("ip", "addr", "add", f"{outside}/30", "dev", f"{veth}a")
        run("ip", "link", "set", f"{veth}a", "up")
        for words in (("link", "set", "lo", "up"), ("addr", "add", f"{inside}/30", "dev", f"{veth}b")):
            run("ip", "-n", namespace, *words)
        run("ip", "-n", namespace, "link", "set", f"{veth}b", "up")
        _write_certificates(world)
        _start_engines(world)
        world.start_facade()
        yield world
    finally:
        _tear_down(world)


def _write_certificates(world: World) -> None:
    for directory, authority in ((world.client_certs, "VCH CA"), (world.stranger_certs, "other CA")):
        directory.mkdir()
        files = (directory / "cert.pem", directory / "key.pem", directory / "ca.pem")
        Authority(authority).issue("vch", world.address, *files)


def _start_engines(world: World) -> None:
    certs = world.directory / "etc-docker" / "certs.d" / world.registry
    certs.mkdir(parents=True)
    shutil.copy(world.client_certs / "ca.pem", certs / "ca.crt")
    config = {
        "version": 0.1,
        "log": {"level": "warn"},
        "storage": {"filesystem": {"rootdirectory": str(world.directory / "registry")}, "delete": {"enabled": True}},
        "http": {
            "addr": f"{world.address}:{REGISTRY_PORT}",
            "tls": {
                "certificate": str(world.client_certs / "cert.pem"),
                "key": str(world.client_certs / "key.pem"),
            },
        },
    }
    path = world.directory / "registry.yml"
    path.write_text(json.dumps(config))
    world.start("registry", "docker-registry", "serve", str(path))
    etc = world.directory / "etc-docker"
    words = ["dockerd", "-H", f"unix://{world.engine_socket}", "--data-root", f"{world.directory}/data"]
    words += ["--exec-root", f"{world.directory}/exec", "--pidfile", f"{world.directory}/docker.pid"]
    script = f'mount --bind {etc} /etc/docker && exec "$@"'
    world.start("dockerd", "unshare", "-m", "sh", "-c", script, "sh", *words)
    with world.engine_client() as engine, world.registry_client() as registry:
        wait_for(lambda: engine.get("/_ping").status_code == 200)
        wait_for(lambda: registry.get("/v2/").status_code == 200)
        pool = {"Config": [{"Subnet": "10.213.7.0/24"}]}
        engine.post("/networks/create", json={"Name": "public", "Driver": "bridge", "IPAM": pool}).raise_for_status()


def _tear_down(world: World) -> None:
    if "dockerd" in world.processes:
        with world.engine_client() as engine:
            for container in engine.get("/containers/json?all=1").json():
                engine.delete(f"/containers/{container['Id']}?force=1")
    for name in reversed(list(world.processes)):
        world.stop(name)
    subprocess.run(["ip", "netns", "del", world.namespace], check=False, capture_output=True, timeout=30)
    shutil.rmtree(world.directory, ignore_errors=True)
