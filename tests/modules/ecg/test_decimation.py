"""The filter before samples are left out."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.signal import firwin

from cmelt_plugin.modules.ecg.decimation import kaiser_low_pass


@pytest.mark.parametrize("factor", (2, 3, 5, 10, 49))
def test_the_filter_is_scipys(factor: int) -> None:
    expected = firwin(20 * factor + 1, 1 / factor, window=("kaiser", 5.0))
    np.testing.assert_array_equal(kaiser_low_pass(factor).float().numpy(), expected.astype(np.float32))
    np.testing.assert_allclose(kaiser_low_pass(factor).numpy(), expected, rtol=0, atol=1e-15)
