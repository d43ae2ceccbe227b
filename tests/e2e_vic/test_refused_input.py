"""As `tests/e2e/test_refused_input.py`, on VIC's own Harbor."""

import pytest

from tests.e2e import test_refused_input
from tests.e2e_vic.chosen import again

pytestmark = pytest.mark.sandbox

globals().update(again(test_refused_input))
