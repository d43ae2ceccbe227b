"""As `tests/e2e/test_gates.py`, on VIC's own Harbor.

Scans, which it does not show, are in `test_differences.py`.
"""

import pytest

from tests.e2e import test_gates
from tests.e2e_vic.again import again

pytestmark = pytest.mark.sandbox

WITHOUT = (
    "test_a_scan_stops_a_promotion_in_its_own_words",
    "test_a_scan_that_is_good_enough_is_on_record",
)

globals().update(again(test_gates, without=WITHOUT))
