"""As `tests/e2e/test_interruption.py`, on VIC's own Harbor."""

import pytest

from tests.e2e import test_interruption
from tests.e2e_vic.chosen import again

pytestmark = pytest.mark.sandbox

globals().update(again(test_interruption))
