"""Texts to embeddings, prompt ensembles and scores of any model."""

import numpy as np
import pytest
import torch
from tiny import PAD

from cmelt_plugin.models.base import CosineSimilarity, Embedding
from cmelt_plugin.models.inference.scoring import SCORE_ROWS, embed_classes, embed_texts, similarities


class Stub(CosineSimilarity):
    """Embeds a text as the sum of one-hot vectors of its tokens, padding apart, times its length."""

    def embed_text(self, ids, padding):
        assert (ids[padding] == PAD).all()
        one_hot = torch.nn.functional.one_hot(ids, 60).float() * (~padding).unsqueeze(-1)
        return Embedding(one_hot.sum(1) * (~padding).sum(1, keepdim=True))


def naive(texts, index, n_classes):
    rows = []
    for c in range(n_classes):
        unit = []
        for text, owner in zip(texts, index):
            if owner == c:
                vector = np.zeros(60)
                for token in text:
                    vector[token] += 1
                unit.append(vector / np.linalg.norm(vector))
        mean = np.mean(unit, axis=0)
        rows.append(mean / np.linalg.norm(mean))
    return np.stack(rows)


def test_mean_of_unit_vectors_per_class():
    texts, index = [[5, 6], [7, 8, 9, 9], [9], [5]], [0, 1, 1, 2]
    result = embed_classes(Stub(), texts, np.array(index), 3, PAD)
    np.testing.assert_allclose(result.mean.numpy(), naive(texts, index, 3), rtol=1e-5, atol=1e-6)


def test_a_class_of_gaussians_is_the_mixture_of_its_texts():
    """Sampled: texts of a class drawn alike often, and of each text its Gaussian."""
    generator = torch.Generator().manual_seed(0)
    means, log_variance = torch.randn(3, 4, generator=generator), torch.randn(3, 4, generator=generator)
    found = CosineSimilarity().ensemble(Embedding(means, log_variance), torch.tensor([0, 1, 0]), 2)
    plain = CosineSimilarity().ensemble(Embedding(means), torch.tensor([0, 1, 0]), 2)
    assert torch.equal(found.mean, plain.mean) and plain.log_variance is None
    points = means / means.norm(dim=1, keepdim=True)
    noise = torch.randn(2, 200_000, 4, generator=generator)
    drawn = torch.cat([points[text] + noise[place] * (log_variance[text] / 2).exp() for place, text in enumerate((0, 2))])
    torch.testing.assert_close(found.log_variance[0].exp(), drawn.var(dim=0), rtol=0.02, atol=0)
    torch.testing.assert_close(found.log_variance[1], log_variance[1])


def test_more_texts_than_one_batch_holds():
    texts = [[3 + i % 50] for i in range(300)]
    result = embed_classes(Stub(), texts, np.arange(300) % 2, 2, PAD)
    np.testing.assert_allclose(result.mean.numpy(), naive(texts, [i % 2 for i in range(300)], 2), rtol=1e-4, atol=1e-5)


def test_a_class_without_text_is_refused():
    with pytest.raises(ValueError, match=r"\[1\]"):
        embed_classes(Stub(), [[5]], np.array([0]), 2, PAD)


def test_long_texts_are_cut_and_keep_their_last_token():
    texts = [[5, 6, 7, 8, 1], [9, 1]]
    cut = embed_texts(Stub(), texts, PAD, max_tokens=3)
    assert torch.equal(cut.mean, embed_texts(Stub(), [[5, 6, 1], [9, 1]], PAD).mean)
    assert not torch.equal(cut.mean, embed_texts(Stub(), texts, PAD).mean)


def test_no_texts_are_embeddings_of_the_models_width():
    assert embed_texts(Stub(), [], PAD).mean.shape == (0, 60)


def test_scores_are_the_models_whatever_the_number_of_rows():
    generator = torch.Generator().manual_seed(0)
    a, b = torch.randn(SCORE_ROWS + 3, 4, generator=generator), torch.randn(5, 4, generator=generator)

    class Distance(Stub):
        def similarity(self, ecg, text):
            return -(torch.cdist(ecg.mean, text.mean) + ecg.log_variance.sum(1)[:, None] + text.log_variance.sum(1))

    scores = similarities(Distance(), Embedding(a, a), Embedding(b, b))
    np.testing.assert_allclose(scores, -(torch.cdist(a, b) + a.sum(1)[:, None] + b.sum(1)), rtol=1e-4, atol=1e-5)
    assert similarities(Distance(), Embedding(a[:0], a[:0]), Embedding(b, b)).shape == (0, 5)
