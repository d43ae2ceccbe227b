"""As `tests/e2e/test_registry_lies.py`, on VIC's own Harbor.

A registry that is away is away on any Harbor.
"""

import pytest

from tests.e2e import test_registry_lies
from tests.e2e_vic.again import again

pytestmark = pytest.mark.sandbox

WITHOUT = (
    "test_a_registry_that_is_away_is_exit_8_after_some_tries",
    "test_a_registry_in_trouble_is_exit_8_in_its_own_words",
    "test_a_hiccup_of_the_registry_is_outlasted",
)

globals().update(again(test_registry_lies, without=WITHOUT))
