"""As `tests/e2e/test_happy.py`, on VIC's own Harbor."""

import pytest

from tests.e2e import test_happy
from tests.e2e_vic.chosen import again

pytestmark = pytest.mark.sandbox

globals().update(again(test_happy))
