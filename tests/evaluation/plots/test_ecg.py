"""A 12-lead ECG on paper."""

import numpy as np
import pytest

pytest.importorskip("matplotlib", reason="figures need the extra 'viz'")

from cmelt_plugin.data.leads import LEADS  # noqa: E402
from cmelt_plugin.evaluation.plots import ecg as ecg_module  # noqa: E402
from cmelt_plugin.evaluation.plots.ecg import ecg_figure  # noqa: E402


def labels(axes):
    return [text.get_text() for text in axes.get_legend().get_texts()]


def leads_of_constants():
    """Lead number i is a step from 0 to i/20 mV at sample 4000."""
    ecg = np.zeros((12, 5000))
    ecg[:, 4000:] = np.arange(12)[:, None] / 20
    return ecg


def traces(figure, colour):
    return [line for line in figure.axes[0].lines if line.get_color() == colour and len(line.get_xdata()) > 10]


def test_ecg_layout_is_twelve_strips_and_a_rhythm_strip():
    figure = ecg_figure(leads_of_constants())
    strips = traces(figure, ecg_module.INK)
    assert len(strips) == 13
    names = [text.get_text() for text in figure.axes[0].texts]
    assert names == [*(lead for row in ecg_module.LAYOUT for lead in row), "II (rhythm strip)"]
    assert sorted(names[:12]) == sorted(LEADS)
    # Third strip of the first row: V1 from 5 s to 7.5 s, 25 mm per second.
    assert strips[2].get_xdata()[[0, -1]] == pytest.approx([125, 187.45])
    assert figure.axes[0].get_aspect() == 1  # a millimetre up is as long as a millimetre across


def test_ecg_is_drawn_at_ten_millimetres_per_millivolt():
    strips = traces(ecg_figure(leads_of_constants()), ecg_module.INK)
    for strip, lead in ((strips[3], "V4"), (strips[7], "V5"), (strips[11], "V6")):
        height = strip.get_ydata()
        assert height[-1] - height[0] == pytest.approx(LEADS.index(lead) / 20 * 10)


def test_reconstruction_is_drawn_where_something_was_hidden():
    ecg = np.zeros((12, 5000))
    masked = np.zeros(5000, dtype=bool)
    masked[100:140] = masked[3000:3040] = True
    masked_leads = np.array([lead == "V2" for lead in LEADS])
    figure = ecg_figure(ecg, masked=masked, masked_leads=masked_leads, reconstruction=ecg + 0.5)
    drawn = dict(zip([lead for row in ecg_module.LAYOUT for lead in row], traces(figure, ecg_module.BLUE)))
    seen = {lead: np.flatnonzero(~np.isnan(line.get_ydata())) for lead, line in drawn.items()}
    assert seen["I"].tolist() == list(range(100, 140))
    assert seen["V1"].tolist() == list(range(500, 540))  # its strip begins at sample 2500
    assert len(seen["V2"]) == 1250
    assert len(seen["V6"]) == 0
    assert "reconstructed" in labels(figure.axes[0]) and "hidden from the model" in labels(figure.axes[0])


def test_short_record_and_wrong_number_of_leads():
    ecg_figure(np.zeros((12, 3500)))
    with pytest.raises(ValueError, match="12 leads"):
        ecg_figure(np.zeros((11, 5000)))


def test_shading_lies_behind_each_lead_on_one_scale():
    values = np.zeros((12, 5000))
    values[LEADS.index("V1"), 2500:3750] = 2.0
    values[LEADS.index("aVF"), :] = -1.0
    figure = ecg_figure(np.zeros((12, 5000)), shading=values)
    axes = figure.axes[0]
    assert len(axes.images) == 13 and axes.get_aspect() == 1.0  # millimetres stay square
    leads = [name for row in ecg_module.LAYOUT for name in row]  # in the order they are drawn in
    by_place = dict(zip(leads, axes.images))
    assert by_place["V1"].get_extent()[:2] == pytest.approx([125, 187.5])  # mm: seconds 5 to 7.5
    assert (by_place["V1"].get_array() == 2).all() and (by_place["aVF"].get_array() == -1).all()
    assert not by_place["V2"].get_array().any()
    assert {image.get_clim() for image in axes.images} == {(-2.0, 2.0)}
    assert len(ecg_figure(np.zeros((12, 5000))).axes[0].images) == 0
