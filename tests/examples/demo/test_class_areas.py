"""Which classes count among all findings, and their areas."""

import math

import numpy as np
import pytest

from examples.demo.class_areas import MIN_RECORDS, class_areas


def test_every_class_with_enough_records_counts():
    labels = np.zeros((20, 4))
    labels[:MIN_RECORDS, 0] = 1
    labels[: MIN_RECORDS - 1, 1] = 1
    labels[MIN_RECORDS - 1 :, 2] = 1  # too few without it
    labels[10:, 3] = 1
    labels[0, 3] = np.nan
    scores = np.tile(np.arange(20.0)[:, None], 4)
    areas = class_areas(labels, scores, ["FIVE", "FOUR", "NEARLY ALL", "TEN"])
    assert areas.per_class == {"FIVE": 0.0, "TEN": 1.0} and areas.macro == pytest.approx(0.5)
    assert areas.positives == {"FIVE": 5, "TEN": 10}
    assert areas.left_out == ["FOUR", "NEARLY ALL"]


def test_without_such_a_class_there_is_no_mean():
    areas = class_areas(np.zeros((6, 1)), np.zeros((6, 1)), ["NONE"])
    assert math.isnan(areas.macro) and areas.per_class == {} and areas.left_out == ["NONE"]
