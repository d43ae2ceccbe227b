"""How a sandbox comes up: the slow parts start first, their followers wait in threads, and all is recorded first."""

import dataclasses
import functools
import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from imagepipe import fanout
from imagepipe.events import EventSink, step
from imagepipe.sandbox import engines, namespaces, pki, probing, requirements, seed, standins
from imagepipe.sandbox.document import configuration
from imagepipe.sandbox.engines import EngineApi, EngineSpec
from imagepipe.sandbox.layout import (
    ENGINES,
    PROJECT,
    PUBLIC_NETWORK,
    REGISTRY_NAMESPACE,
    SWITCH_NAMESPACE,
    VCHS,
    Addresses,
    Layout,
)
from imagepipe.sandbox.processes import Starter, end_one
from imagepipe.sandbox.standins import Places
from imagepipe.sandbox.state import ProcessRecord, Record, State, write_private

__all__ = ["Building"]

_READY_S = 40.0  # an engine is ready in about a second; the rest is room for a machine that is busy
_Certificates = dict[str, tuple[Path, Path]]


@dataclass(frozen=True, slots=True)
class _Ground:
    """What the parts stand on: where they answer, their certificates, and how a command enters a part's namespace."""

    places: Places
    certificates: _Certificates
    addresses: Addresses | None

    def within(self, layout: Layout, name: str, argv: list[str]) -> list[str]:
        """Returns the command as run on the named machine of the sandbox; without own engines there is only one."""
        return argv if self.addresses is None else [*namespaces.enter(layout.namespace(name)), *argv]


class Building:
    """One `up` under way."""

    def __init__(self, layout: Layout, record: Record, sink: EventSink) -> None:
        self._layout, self._record, self._sink = layout, record, sink
        self.starter = Starter(world_id=layout.world_id, directory=layout.directory)

    def run(self) -> None:
        """Makes the whole sandbox, from the recorded choice of flavour and engine.

        Raises:
            ImagepipeError: Some part does not come up; the caller clears what there is.
        """
        engine = self._record.state.engine
        own = engine == "own"
        grounds = {"own": self._own_ground, "existing": self._existing_ground, "none": self._bare_ground}
        ground = grounds[engine]()
        write_private(self._layout.password("admin"), f"{seed.generate_password()}\n")
        engine_records = self._start_engines(ground) if own else {}
        tasks: list[Callable[[], None]] = [
            functools.partial(self._open_registry, ground),
            functools.partial(self._open_sigstore, ground),
        ]
        if own:
            tasks += [functools.partial(self._open_engine, ground, name, engine_records[name]) for name in ENGINES]
        elif engine == "existing":
            tasks += [functools.partial(self._open_vch, ground, name) for name in VCHS]
        for outcome in fanout.each(tasks, _call, jobs=len(tasks)):
            outcome.unwrap()
        write_private(self._layout.config_file, configuration(self._layout, self._record.state))
        self._record.change(lambda state: dataclasses.replace(state, phase="up"))

    def _own_ground(self) -> _Ground:
        layout = self._layout
        with step(self._sink, "make", "namespaces"):
            with namespaces.exclusively():
                addresses = namespaces.choose_addresses(layout.world_id)
                self._intend(addresses, Places.own(layout, addresses))
                namespaces.make_switch(layout, addresses)
            for name in (REGISTRY_NAMESPACE, *ENGINES):
                namespaces.join(layout, addresses, name)
        where = {name: addresses.of(name) for name in ("registry", *VCHS, "engine-a")}
        return _Ground(Places.own(layout, addresses), self._issue(where), addresses)

    def _intend(self, addresses: Addresses, places: Places) -> None:
        names = (SWITCH_NAMESPACE, REGISTRY_NAMESPACE, *ENGINES)
        made = [str(folder) for folder in (engines.ETC_DOCKER, namespaces.NAMESPACES) if not folder.exists()]

        def intended(state: State) -> State:
            return dataclasses.replace(
                state,
                third_octet=addresses.third_octet,
                endpoints=places.plain(),
                namespaces=tuple(self._layout.namespace(name) for name in names),
                links=(self._layout.host_link,),
                made_directories=(*state.made_directories, *made),
            )

        self._record.change(intended)
        engines.ETC_DOCKER.mkdir(exist_ok=True)

    def _existing_ground(self) -> _Ground:
        socket = requirements.existing_engine(os.environ)
        places = Places.existing(f"unix://{socket}")
        self._record.change(lambda state: dataclasses.replace(state, endpoints=places.plain()))
        with EngineApi(socket) as api:
            if PUBLIC_NETWORK not in api.networks():
                self._record.change(lambda state: dataclasses.replace(state, engine_networks=(PUBLIC_NETWORK,)))
                api.create_network({"Name": PUBLIC_NETWORK, "CheckDuplicate": True, "Driver": "bridge"})
        return _Ground(places, self._issue(dict.fromkeys(("registry", *VCHS), "127.0.0.1")), None)

    def _bare_ground(self) -> _Ground:
        places = Places.alone()
        self._record.change(lambda state: dataclasses.replace(state, endpoints=places.plain()))
        return _Ground(places, self._issue({"registry": "127.0.0.1"}), None)

    def _issue(self, where: dict[str, str]) -> _Certificates:
        layout = self._layout
        with step(self._sink, "make", "certificates"):
            authority = pki.Authority.create(layout.pki("registry"), "sandbox registry CA")
            issued = {"registry": authority.issue_server("registry", (where.pop("registry"), "127.0.0.1"))}
            for name, address in where.items():
                issued[name] = pki.issue_target(layout.pki(name), layout.client_certificates(name), name, address)
        return issued

    def _start(self, name: str, argv: list[str]) -> ProcessRecord:
        process = self.starter.start(name, argv, self._layout.log(name))
        self._record.add_process(process)
        return process

    def _start_engines(self, ground: _Ground) -> dict[str, ProcessRecord]:
        started = {}
        for name in ENGINES:
            tls = None
            if name not in VCHS and name in ground.certificates:
                address = ground.places.targets[name].removeprefix("tcp://")
                tls = (address, self._layout.pki(name) / "ca.pem", *ground.certificates[name])
            argv = engines.prepare(self._layout, EngineSpec(name, tls), ground.places.registry)
            started[name] = self._start(f"{name}-engine" if name in VCHS else name, argv)
        return started

    def _open_engine(self, ground: _Ground, name: str, process: ProcessRecord) -> None:
        with step(self._sink, "start", process.name):
            engines.wait_ready(self._layout, process, name, timeout_s=_READY_S)
            if ground.addresses is not None and name in ground.addresses.public_range:
                engines.add_public_network(self._layout, name, ground.addresses)
        if name in VCHS:
            self._open_vch(ground, name)

    def _open_vch(self, ground: _Ground, name: str) -> None:
        layout, own = self._layout, ground.addresses is not None
        with step(self._sink, "start", name):
            engine = str(layout.engine_socket(name)) if own else ground.places.build.removeprefix("unix://")
            argv = standins.vch(
                layout,
                ground.places,
                name,
                engine_socket=engine,
                engine_data=layout.engine_data(name) if own else None,
                certificate=ground.certificates[name],
            )
            process = self._start(name, ground.within(layout, name, argv))
            url = ground.places.targets[name].replace("tcp://", "https://") + "/_ping"
            tls = probing.trusting(layout.pki(name) / "ca.pem", layout.client_certificates(name))
            probing.wait_for(process, url, timeout_s=_READY_S, tls=tls)

    def _open_registry(self, ground: _Ground) -> None:
        layout, flavour = self._layout, self._record.state.flavour
        layout.data("registry").mkdir(mode=0o700, parents=True, exist_ok=True)
        with step(self._sink, "start", "registry"):
            argv = standins.registry(layout, ground.places)
            backend = self._start("registry", ground.within(layout, REGISTRY_NAMESPACE, argv))
            process = self._start_harbor(ground, "harbor")
            probing.wait_listening(backend, int(ground.places.backend.rpartition(":")[2]), timeout_s=_READY_S)
        with step(self._sink, "seed", PROJECT):
            door = seed.Harbor(f"https://{ground.places.registry}", layout.registry_ca, layout.password("admin"))
            users = seed.seed_project(layout, door, robots=flavour == "harbor")
            self._record.change(lambda state: dataclasses.replace(state, users=users))
        if flavour != "harbor":  # an old Harbor has no door for users and members: it inherits what a new one made
            with step(self._sink, "start", f"harbor {flavour}"):
                end_one(process)
                self._start_harbor(ground, flavour)

    def _start_harbor(self, ground: _Ground, flavour: str) -> ProcessRecord:
        argv = standins.harbor(self._layout, ground.places, flavour, ground.certificates["registry"])
        process = self._start("harbor", ground.within(self._layout, REGISTRY_NAMESPACE, argv))
        tls = probing.trusting(self._layout.registry_ca)
        probing.wait_for(process, f"https://{ground.places.registry}/v2/", timeout_s=_READY_S, tls=tls)
        return process

    def _open_sigstore(self, ground: _Ground) -> None:
        layout, url = self._layout, f"http://{ground.places.sigstore}"
        with step(self._sink, "start", "sigstore"):
            argv = standins.sigstore(layout, ground.places)
            process = self._start("sigstore", ground.within(layout, REGISTRY_NAMESPACE, argv))
            probing.wait_for(process, f"{url}/.well-known/openid-configuration", timeout_s=_READY_S)
            seed.mint_token(url, layout.token_file)


def _call(task: Callable[[], None]) -> bool:
    task()
    return True
