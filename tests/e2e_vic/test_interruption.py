"""As `tests/e2e/test_interruption.py`, on VIC's own Harbor.

Ctrl-C apart, which is between the operator and us.
"""

import pytest

from tests.e2e import test_interruption
from tests.e2e_vic.again import again

pytestmark = pytest.mark.sandbox

WITHOUT = (
    "test_ctrl_c_in_a_build_is_exit_130_and_pushes_nothing",
    "test_ctrl_c_in_a_promotion_or_a_cancelled_job_is_exit_130_and_lets_go",
)

globals().update(again(test_interruption, without=WITHOUT))
