import numpy as np
import pytest
from hypothesis import given, settings
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


def in_words(lengths, probability, seed):
    """Rows of words of one to four tokens, behind a special token and before padding."""
    rng = np.random.default_rng(seed)
    longest = max(lengths) + 2
    ids = rng.integers(3, VOCAB, size=(len(lengths), longest))
    begins = rng.random(ids.shape) < 0.5
    ids[:, 0] = EOS
    begins[:, :2] = True
    padding = np.arange(longest)[None, :] >= np.asarray(lengths)[:, None] + 1
    ids[padding], begins[padding] = PAD, True
    uniforms = rng.random((3, *ids.shape))
    return ids, padding, begins, uniforms, WordMasker(probability, MASK, VOCAB, SPECIAL)(ids, padding, uniforms, begins)


@settings(deadline=None)
@given(lengths=st.lists(st.integers(1, 30), min_size=1, max_size=8), probability=st.floats(0, 1), seed=st.integers(0, 2**16))
def test_words_are_chosen_whole(lengths, probability, seed):
    ids, padding, begins, _, out = in_words(lengths, probability, seed)
    special = np.isin(ids, SPECIAL) | padding
    assert not (out.mask & special).any()
    np.testing.assert_array_equal(out.ids[~out.mask], ids[~out.mask])
    np.testing.assert_array_equal(out.target, ids[out.mask])
    for row in range(len(ids)):
        number = np.cumsum(begins[row])
        words = [out.mask[row][(number == word) & ~special[row]] for word in np.unique(number[~special[row]])]
        assert all(word.all() or not word.any() for word in words)
        assert sum(word.any() for word in words) == (max(1, round(len(words) * probability)) if probability else 0)


def test_words_of_one_token_are_masked_as_tokens_are():
    ids, padding, _, uniforms, _ = in_words([20, 7, 1], 0.3, 4)
    masker = WordMasker(0.3, MASK, VOCAB, SPECIAL)
    for whole, single in zip(masker(ids, padding, uniforms, np.ones_like(padding)), masker(ids, padding, uniforms)):
        np.testing.assert_array_equal(whole, single)


def test_the_share_of_tokens_is_that_of_words():
    ids, _, _, _, out = in_words([2000] * 10, 0.15, 3)
    assert out.mask.sum() / ids.shape[1] / 10 == pytest.approx(0.15, abs=0.01)
