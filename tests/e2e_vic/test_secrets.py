"""As `tests/e2e/test_secrets.py`, on VIC's own Harbor."""

import pytest

from tests.e2e import test_secrets as there
from tests.e2e.box import Box
from tests.e2e.cli import Cli

pytestmark = pytest.mark.sandbox


def test_no_secret_is_anywhere_that_others_may_read(box: Box, cli: Cli) -> None:
    there.test_no_secret_is_anywhere_that_others_may_read(box, cli, "vic")
