"""One sandbox of VIC's flavour for all tests here: Harbor 1.7 with Admiral, and a registry without OCI manifests."""

import pytest

from tests.e2e.conftest import (
    box,
    cli,
    cooled,
    folder,
    ledger,
    pytest_collection_modifyitems,
    pytest_runtest_makereport,
    signed,
    workspace,
)

__all__ = [
    "box",
    "cli",
    "cooled",
    "flavour",
    "folder",
    "ledger",
    "pytest_collection_modifyitems",
    "pytest_runtest_makereport",
    "signed",
    "workspace",
]


@pytest.fixture(scope="package")
def flavour() -> str:
    """What sandbox is brought up."""
    return "vic"
