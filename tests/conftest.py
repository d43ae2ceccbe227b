"""Lets workers share the suite (`pytest -n 3`): tests that share a sandbox or a file's fixtures stay together."""

import os
import signal
from pathlib import Path
from typing import Any

import pytest
from coverage.config import CoverageConfig
from xdist.scheduler import LoadScopeScheduling

# Assertions in helpers are rewritten only when told so before anybody imports them.
pytest.register_assert_rewrite("tests.e2e.cli", "tests.e2e.ledger", "tests.e2e.registry", "tests.e2e.traces")

# The authorities of the system, in place of the machine's own: one that has expired, and whose key is lost. Reading the
# real ones takes 20 ms for each client that is opened, and no test may lean on them.
_AUTHORITIES = Path(__file__).parent / "fixtures" / "nobody.pem"
# Source: coverage 7.10 patch.py _patch_subprocess; control.py process_startup
_CHILDREN_MEASURE = "COVERAGE_PROCESS_CONFIG"
# Their tests share one sandbox each.
TOGETHER = ("tests/e2e", "tests/e2e_vic", "tests/interop")
# Those in it with sandboxes of their own, which make nothing on the machine that the others look at.
APART = ("tests/e2e/test_dialects.py",)
# Too many for one sandbox in a row: each of these has its own, the rest of the folder has another.
UNITS = {
    "faults": ("activation", "faults", "interruption", "refused_targets", "registry_lies", "sweep"),
    "administration": (
        *("administration", "doctor", "explained", "odd_names", "old_harbors"),
        *("protection", "refused_access", "refused_input", "robot_secrets", "sandbox_cli", "targets"),
    ),
}


def pytest_configure() -> None:
    """Gives us and our children the same surroundings everywhere."""
    # Who is started in the background ignores Ctrl-C, and so would our children.
    signal.signal(signal.SIGINT, signal.default_int_handler)
    # Source: openssl SSL_CTX_set_default_verify_paths(3); Go's crypto/x509 heeds it too.
    os.environ["SSL_CERT_FILE"] = str(_AUTHORITIES)


@pytest.hookimpl(trylast=True)
def pytest_sessionstart() -> None:
    """Lets processes that we start measure the same files, but leave the search for those that nobody ran to us.

    Each would walk the whole source when it ends, to name the files that it did not import: half of the time that
    measuring a short command takes. The files that we name ourselves are all of them.
    """
    told = os.environ.get(_CHILDREN_MEASURE)  # set as soon as our own measuring began
    config = CoverageConfig.deserialize(told) if told else CoverageConfig()
    if config.source and all(Path(folder).is_dir() for folder in config.source):
        config.run_include, config.source = [f"{folder}/*" for folder in config.source], None
        os.environ[_CHILDREN_MEASURE] = config.serialize()


class Scheduling(LoadScopeScheduling):  # type: ignore[misc] # xdist has no types
    """Hands out whole files, and whole folders where these share a sandbox; the largest first."""

    def _split_scope(self, nodeid: str) -> str:
        file, _, test = nodeid.partition("::")
        if file in APART:
            return file
        folder = next((folder for folder in TOGETHER if file.startswith(f"{folder}/")), None)
        if folder is None:
            return file
        return f"{folder} {_unit(file, test)}" if folder == "tests/e2e" else folder


def _unit(file: str, test: str) -> str:
    """Returns which sandbox an end-to-end test is for; one that every sandbox has names it in brackets."""
    name = file.rpartition("/test_")[2].removesuffix(".py")
    return next((unit for unit, names in UNITS.items() if name in names or f"[{unit}]" in test), "")


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> Scheduling:
    """Returns how tests are handed out."""
    return Scheduling(config, log)
