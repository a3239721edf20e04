"""Class embeddings: prompt ensembles of any text encoder."""

import numpy as np
import pytest
import torch
from tiny import PAD, token_table

from cmelt_plugin.evaluation.zero_shot.class_embeddings import class_embeddings, cut_texts
from cmelt_plugin.models.base import Embedding


class Stub:
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
                for token in [*text, 1]:  # the table ends every text with token 1
                    vector[token] += 1
                unit.append(vector / np.linalg.norm(vector))
        mean = np.mean(unit, axis=0)
        rows.append(mean / np.linalg.norm(mean))
    return np.stack(rows)


def test_mean_of_unit_vectors_per_class():
    texts, index = [[5, 6], [7, 8, 9, 9], [9], [5]], [0, 1, 1, 2]
    table = token_table(texts, class_index=np.array(index))
    result = class_embeddings(Stub(), table, 3, torch.device("cpu"))
    np.testing.assert_allclose(result.numpy(), naive(texts, index, 3), rtol=1e-5, atol=1e-6)


def test_more_texts_than_one_batch_holds():
    texts = [[3 + i % 50] for i in range(300)]
    table = token_table(texts, class_index=np.arange(300) % 2)
    result = class_embeddings(Stub(), table, 2, torch.device("cpu"))
    np.testing.assert_allclose(result.numpy(), naive(texts, [i % 2 for i in range(300)], 2), rtol=1e-4, atol=1e-5)


def test_a_class_without_text_is_refused():
    table = token_table([[5]], class_index=np.array([0]))
    with pytest.raises(ValueError, match=r"\[1\]"):
        class_embeddings(Stub(), table, 2, torch.device("cpu"))


def test_long_texts_are_cut_and_keep_their_last_token():
    table = token_table([[5, 6, 7, 8], [9], [3, 4]], class_index=np.array([0, 1, 1]))
    cut = cut_texts(table, 3)
    assert [cut[index].tolist() for index in range(3)] == [[5, 6, 1], [9, 1], [3, 4, 1]]
    assert cut.class_index.tolist() == [0, 1, 1] and cut.info == table.info
    assert cut_texts(table, 5) is table
