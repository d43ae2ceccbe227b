"""One sandbox of VIC's flavour for all tests here: Harbor 1.7 with Admiral, and a registry without OCI manifests."""

import pytest

_AGAIN = ("happy", "ledger", "gates", "refused_evidence", "registry_lies", "interruption")
pytest.register_assert_rewrite(*(f"tests.e2e.test_{name}" for name in _AGAIN))

from tests.e2e.conftest import box, cli, folder, ledger, signed, workspace  # noqa: E402 - told so before the import

__all__ = ["box", "cli", "flavour", "folder", "ledger", "signed", "workspace"]


@pytest.fixture(scope="package")
def flavour() -> str:
    """What sandbox is brought up."""
    return "vic"
