"""Heads of variances: what each kind has, where they begin, and how many leads are hidden."""

from __future__ import annotations

import torch

from cmelt_plugin.modules.pooling.gaussian import LogVarianceHead, StateLogVariance
from cmelt_plugin.modules.uncertainty import PCMEPP, PROLIP, UncertaintyHeads, hide_leads

WIDTHS = {"ecg_width": 6, "text_width": 4, "ecg_token": 6}


def test_each_kind_has_its_own_parts() -> None:
    pooled = UncertaintyHeads(PCMEPP, 8, 0.5, **WIDTHS)
    assert isinstance(pooled.ecg, LogVarianceHead) and isinstance(pooled.text, StateLogVariance)
    assert isinstance(UncertaintyHeads(PCMEPP, 8, 0.5, **WIDTHS, text_sequence=True).text, LogVarianceHead)
    assert pooled.ecg_token is None and "ecg_token" not in pooled.state_dict()
    read = UncertaintyHeads(PROLIP, 8, 0.5, **WIDTHS, text_sequence=True)
    assert isinstance(read.ecg, StateLogVariance) and isinstance(read.text, StateLogVariance)
    assert read.ecg_token.shape == (6,) and read.text_token is None


def test_variances_begin_about_where_they_were_told_to() -> None:
    torch.manual_seed(0)
    states, padding = torch.randn(5, 7, 6), torch.zeros(5, 7, dtype=torch.bool)
    for kind in (PCMEPP, PROLIP):
        heads = UncertaintyHeads(kind, 8, 0.5, **WIDTHS)
        total = heads.ecg_log_variance(states, padding, states[:, 0]).exp().sum(1)
        assert total.shape == (5,) and ((total - 0.5).abs() < 0.1).all() and total.std() > 0


def test_a_quarter_to_three_quarters_of_the_leads_are_hidden() -> None:
    torch.manual_seed(0)
    ecg = torch.ones(400, 12, 2)
    hidden = (hide_leads(ecg) == 0).all(dim=2)
    assert set(hidden.sum(1).tolist()) == set(range(3, 10))
    assert ((hidden.float().mean(0) - 0.5).abs() < 0.1).all()  # no lead is hidden more often than others
    assert (ecg == 1).all()


def test_a_lead_with_a_signal_stays() -> None:
    torch.manual_seed(0)
    ecg = torch.zeros(400, 12, 2)
    ecg[:200, 3] = 1
    ecg[200:, [0, 5]] = 1
    shown = (hide_leads(ecg) != 0).all(dim=2)
    assert shown.any(dim=1).all() and shown[:200, 3].all()
    assert shown[200:, 0].any() and not shown[200:, 0].all() and shown[200:, 5].any()
