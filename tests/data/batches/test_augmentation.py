import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from cmelt_plugin.data.batches.augmentation import LeadMasking, random_lead_mask
from cmelt_plugin.data.leads import LEAD_SETS, LEADS, lead_keep_mask
from cmelt_plugin.errors import DataError

SETS = "all:0.3 limb:0.1 I+II+V2:0.1, I+II:0.1 I:0.1 any:0.2 random:0.1"


@given(seed=st.integers(0, 2**16), probability=st.floats(0, 1))
def test_at_least_one_lead_survives_and_the_rest_follow_the_numbers(seed, probability):
    uniforms = np.random.default_rng(seed).random((20, 12))
    mask = random_lead_mask(uniforms.copy(), probability)
    wanted = uniforms < probability
    assert not mask.all(axis=1).any()
    partly = ~wanted.all(axis=1)
    np.testing.assert_array_equal(mask[partly], wanted[partly])
    assert (mask[~partly].sum(axis=1) == 11).all()


def test_half_the_leads_on_average():
    mask = random_lead_mask(np.random.default_rng(0).random((20_000, 12)), 0.5)
    assert abs(mask.mean() - 0.5) < 0.01
    assert not random_lead_mask(np.random.default_rng(0).random((100, 12)), 0.0).any()


def uniforms(masking, n=4000, seed=0):
    return np.random.default_rng(seed).random((n, masking.n_keys))


def shown(mask):
    return ["+".join(lead for lead, hidden in zip(LEADS, row) if not hidden) for row in mask]


def test_sets_are_drawn_by_their_weights():
    masking = LeadMasking(0.5, "all:3 limb I+II+V2:1")  # without a number: 1; together 5
    found = shown(masking(uniforms(masking)))
    wanted = {"+".join(LEADS): 0.6, "+".join(LEAD_SETS["6"]): 0.2, "+".join(LEAD_SETS["3"]): 0.2}
    assert set(found) == set(wanted)
    for leads, share in wanted.items():
        assert abs(found.count(leads) / len(found) - share) < 0.03
    assert set(shown(LeadMasking(0.5, "1")(uniforms(masking)))) == {"I"}  # the names of the published lead sets


def test_any_is_any_number_of_any_leads_and_random_as_without_sets():
    masking = LeadMasking(0.5, "any")
    mask = masking(uniforms(masking))
    counts = np.bincount(12 - mask.sum(axis=1), minlength=13) / len(mask)
    assert counts[0] == 0 and np.abs(counts[1:] - 1 / 12).max() < 0.02
    assert np.abs(mask.mean(axis=0) - 5.5 / 12).max() < 0.03
    masking = LeadMasking(0.3, "random")
    keys = uniforms(masking)
    np.testing.assert_array_equal(masking(keys), LeadMasking(0.3)(keys[:, :12]))
    np.testing.assert_array_equal(LeadMasking(0.3)(keys[:, :12]), random_lead_mask(keys[:, :12], 0.3))
    assert not LeadMasking(0.0).masks and LeadMasking(0.0, "I").masks and LeadMasking(0.1).masks


@given(
    keep=st.sets(st.integers(0, 11), min_size=1),
    missing=st.sets(st.integers(0, 11), max_size=11),
    seed=st.integers(0, 2**16),
    sets=st.sampled_from([None, SETS, "any", "V6:1e-9 all", "random any", "I , all:2"]),
)
def test_some_lead_with_a_signal_is_left_and_no_other_is_ever_shown(keep, missing, seed, sets):
    """Records that lack leads are zero there; sets and random masks among the leads that a task keeps."""
    kept = np.isin(np.arange(12), list(keep))
    try:
        masking = LeadMasking(0.5, sets, kept)
    except DataError as error:
        assert "has none of the leads" in str(error)
        return
    ecg = torch.ones(50, 12, 3, dtype=torch.int16)
    ecg[:, list(missing)] = 0
    mask = masking(uniforms(masking, 50, seed), ecg)
    assert mask[:, ~kept].all() and not mask[:, kept].all(axis=1).any()
    if keep - missing:
        assert (~mask[:, sorted(keep - missing)]).any(axis=1).all()
    alone = masking(uniforms(masking, 50, seed)[7:8], ecg[7:8])
    np.testing.assert_array_equal(alone[0], mask[7])


def test_records_of_few_leads_keep_one_of_theirs_and_those_of_twelve_the_mask_they_had():
    masking = LeadMasking(0.5)
    keys = uniforms(masking)
    ecg = torch.ones(len(keys), 12, 3, dtype=torch.int16)
    at_random = random_lead_mask(keys, 0.5)
    np.testing.assert_array_equal(masking(keys, ecg), at_random)
    for leads in ([1], [0, 1], [0, 1, *range(6, 12)]):
        few = torch.zeros_like(ecg)
        few[:, leads] = 1
        mask = masking(keys, few)
        dark = at_random[:, leads].all(axis=1)
        assert dark.any() and not mask[dark].any()  # nothing is hidden of those that nothing would be left of
        np.testing.assert_array_equal(mask[~dark], at_random[~dark])


def test_sets_are_cut_to_the_leads_of_the_task():
    masking = LeadMasking(0.0, "limb I", lead_keep_mask(["I", "V1"]))
    assert set(shown(masking(uniforms(masking)))) == {"I"}


@pytest.mark.parametrize(
    ("sets", "message"),
    [
        ("I+V7", "task.lead_sets, 'I\\+V7': unknown lead V7"),
        ("I+I", "named twice"),
        ("", "'' must be a set"),
        ("all all:2", "'all:2' must be a set that is not named twice"),
        ("all:0", "a number above 0"),
        ("all:-1", "a number above 0"),
        ("all:x", "a number above 0"),
        ("all:nan", "a number above 0"),
        ("all:inf", "a number above 0"),
        (":0.5", "must be a set"),
        ("random:1", "random hides nothing with task.lead_mask_probability=0.0"),
        ("limb V1", "limb has none of the leads V1, V2, which task.leads chooses"),
    ],
)
def test_sets_that_cannot_be_read(sets, message):
    with pytest.raises(DataError, match=message):
        LeadMasking(0.0, sets, lead_keep_mask(["V1", "V2"]))
