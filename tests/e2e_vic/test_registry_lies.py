"""As `tests/e2e/test_registry_lies.py`, on VIC's own Harbor."""

import pytest

from tests.e2e import test_registry_lies
from tests.e2e_vic.chosen import again

pytestmark = pytest.mark.sandbox

globals().update(again(test_registry_lies))
