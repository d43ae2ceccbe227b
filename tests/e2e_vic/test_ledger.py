"""As `tests/e2e/test_ledger.py`, on VIC's own Harbor.

Saved plans and the terminal apart, which ask nothing else of a Harbor.
"""

import pytest

from tests.e2e import test_ledger
from tests.e2e_vic.again import again

pytestmark = pytest.mark.sandbox

WITHOUT = (
    "test_going_back_twice_goes_one_step",
    "test_a_plan_is_saved_agreed_to_and_carried_out",
    "test_a_plan_is_stale_once_its_tag_moved",
    "test_a_plan_is_stale_once_its_policy_changed",
    "test_a_plan_is_stale_once_its_target_is_another",
    "test_a_plan_is_stale_once_its_target_was_brought_elsewhere",
    "test_a_plan_is_stale_after_a_day_and_worthless_when_changed",
    "test_on_a_terminal_the_plan_shows_from_and_to_and_asks",
)

globals().update(again(test_ledger, without=WITHOUT))
