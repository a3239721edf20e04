import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from cmelt_plugin.data.text.word_masking import WordMasker

PAD, EOS, MASK, VOCAB = 0, 1, 2, 50
SPECIAL = [PAD, EOS, MASK]


def masked(lengths, probability, seed=0, vocab=VOCAB):
    rng = np.random.default_rng(seed)
    longest = max(lengths)
    ids = rng.integers(3, vocab, size=(len(lengths), longest))
    padding = np.arange(longest)[None, :] >= np.asarray(lengths)[:, None]
    ids[padding] = PAD
    for row, length in enumerate(lengths):
        ids[row, length - 1] = EOS
    out = WordMasker(probability, MASK, vocab, SPECIAL)(ids, padding, rng.random((3, *ids.shape)))
    return ids, padding, out


@given(
    lengths=st.lists(st.integers(1, 30), min_size=1, max_size=8),
    probability=st.floats(0, 1),
    seed=st.integers(0, 2**16),
)
def test_only_ordinary_tokens_are_chosen_and_nothing_else_changes(lengths, probability, seed):
    ids, padding, out = masked(lengths, probability, seed)
    special = np.isin(ids, SPECIAL) | padding
    assert not (out.mask & special).any()
    np.testing.assert_array_equal(out.ids[~out.mask], ids[~out.mask])
    np.testing.assert_array_equal(out.target, ids[out.mask])
    chosen, ordinary = out.mask.sum(axis=1), (~special).sum(axis=1)
    for n_chosen, n_ordinary in zip(chosen, ordinary):
        expected = 0 if probability == 0 or n_ordinary == 0 else max(1, round(n_ordinary * probability))
        assert n_chosen == expected


def test_eighty_ten_ten():
    ids, _, out = masked([4001] * 5, 0.5, vocab=5000)
    new, old = out.ids[out.mask], ids[out.mask]
    assert (new == MASK).mean() == pytest.approx(0.8, abs=0.02)
    assert (new == old).mean() == pytest.approx(0.1, abs=0.02)
    changed = (new != MASK) & (new != old)
    assert changed.mean() == pytest.approx(0.1, abs=0.02)
    assert not np.isin(new[changed], SPECIAL).any()


def test_a_share_outside_zero_to_one_is_refused():
    with pytest.raises(ValueError, match=r"\[0, 1\]"):
        WordMasker(1.5, MASK, VOCAB, SPECIAL)
