"""As `tests/e2e/test_copies.py`, on VIC's own Harbor."""

import pytest

from tests.e2e import test_copies
from tests.e2e_vic.chosen import again

pytestmark = pytest.mark.sandbox

globals().update(again(test_copies))
