from __future__ import annotations

import numpy as np
import pytest
import torch
from corpora import write_bert, write_corpus
from pairs import equal

from cmelt_plugin.data.batches.masked_text import MaskedTextDataset, MaskedTextOptions
from cmelt_plugin.data.corpus.tokens import CorpusTokens

LENGTH = 32


@pytest.fixture(scope="module")
def corpus(tmp_path_factory):
    folder = tmp_path_factory.mktemp("masked_text")
    return write_corpus(folder / "corpus", write_bert(folder / "bert"))


def dataset(corpus, split="train", **options) -> MaskedTextDataset:
    options = {"length": LENGTH, "train": split == "train", **options}
    return MaskedTextDataset(CorpusTokens.load(corpus, split), MaskedTextOptions(**options))


def whole(data: MaskedTextDataset):
    return data.collater(np.arange(len(data)))


def restored(batch) -> torch.Tensor:
    """The texts before they were masked."""
    text = batch["net_input"]["text"].clone().flatten()
    text[batch["net_input"]["positions"]] = batch["target"]
    return text.view_as(batch["net_input"]["text"])


def test_a_pass_shows_every_token_once_and_masks_some(corpus) -> None:
    data = dataset(corpus)
    batch = whole(data)
    padding = batch["net_input"]["text_padding_mask"]
    assert padding.shape[1] <= LENGTH and batch["ntokens"] == int((~padding).sum())
    shown = restored(batch)[~padding]
    ordinary = shown[~torch.isin(shown, torch.tensor(data.tokens.info["special_ids"]))]
    assert torch.equal(ordinary.sort().values, torch.from_numpy(np.sort(data.tokens.ids.array)).long())
    positions = batch["net_input"]["positions"]
    assert len(positions) == len(batch["target"]) == len(positions.unique())
    assert not torch.isin(batch["target"], torch.tensor(data.tokens.info["special_ids"])).any()
    assert (batch["net_input"]["text"].flatten()[positions] == data.tokens.info["mask_id"]).float().mean() > 0.6


def test_words_are_masked_whole_or_token_by_token(corpus) -> None:
    for whole_words in (True, False):
        data = dataset(corpus, probability=0.5, whole_words=whole_words)
        batch = whole(data)
        chosen = torch.zeros(batch["net_input"]["text"].numel(), dtype=torch.bool)
        chosen[batch["net_input"]["positions"]] = True
        chosen = chosen.view_as(batch["net_input"]["text"]).numpy()
        divided = 0
        for row in range(len(data)):
            _, begins = data.sequences[row]
            words = np.split(chosen[row, : len(begins)], np.flatnonzero(begins)[1:])
            divided += sum(word.any() and not word.all() for word in words)
        assert (divided == 0) == whole_words


def test_batches_depend_on_seed_epoch_and_numbers_alone(corpus) -> None:
    data, again = dataset(corpus), dataset(corpus)
    again.set_epoch(3)
    assert not torch.equal(restored(whole(data)), restored(whole(again)))  # documents in another order
    again.set_epoch(1)
    equal(whole(data), whole(again))
    few = data.collater([3, 1])
    for place, row in enumerate((3, 1)):
        alone = data.collater([row])
        length = int((~alone["net_input"]["text_padding_mask"]).sum())
        assert torch.equal(alone["net_input"]["text"][0, :length], few["net_input"]["text"][place, :length])
    assert not torch.equal(dataset(corpus, seed=2).collater([0])["net_input"]["text"], data.collater([0])["net_input"]["text"])
    assert sorted(np.concatenate(data.batches(4)).tolist()) == list(range(len(data)))
    assert data.batches(4)[0].tolist() != [0, 1, 2, 3]


def test_validation_is_the_same_every_time(corpus) -> None:
    data = dataset(corpus, "valid")
    first = whole(data)
    data.set_epoch(5)
    equal(whole(data), first)
    assert data.can_reuse_epoch_itr_across_epochs and not dataset(corpus).can_reuse_epoch_itr_across_epochs
    assert np.concatenate(data.batches(4)).tolist() == list(range(len(data)))
    assert data.collater([]) == {}
