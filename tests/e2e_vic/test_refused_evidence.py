"""As `tests/e2e/test_refused_evidence.py`, on VIC's own Harbor.

OCI images, which it does not take, are in `test_differences.py`.
"""

import pytest

from tests.e2e import test_refused_evidence
from tests.e2e_vic.again import again

pytestmark = pytest.mark.sandbox

WITHOUT = ("test_an_oci_image_is_refused_for_a_vch_and_goes_to_an_engine",)

globals().update(again(test_refused_evidence, without=WITHOUT))
