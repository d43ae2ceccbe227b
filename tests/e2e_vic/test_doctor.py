"""As `tests/e2e/test_doctor.py`, on VIC's own Harbor."""

import pytest

from tests.e2e import test_doctor
from tests.e2e_vic.chosen import again

pytestmark = pytest.mark.sandbox

globals().update(again(test_doctor))
