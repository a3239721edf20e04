from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest
from corpora import write_bert, write_corpus
from omegaconf import OmegaConf

from cmelt_plugin import register
from cmelt_plugin.errors import DataError
from cmelt_plugin.tasks.text_mlm import TextMLMConfig, TextMLMTask


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    root = tmp_path_factory.mktemp("text_mlm")
    write_corpus(root / "corpus", write_bert(root / "bert"))
    return root


def task_of(place, **options: Any) -> TextMLMTask:
    register()
    task = TextMLMTask(TextMLMConfig(**{"data": str(place / "corpus"), "max_text_tokens": 32, "seed": 1, **options}))
    task.state.merge_state_dict({"tokenizer_fingerprint": None})  # shared by all tasks of a process
    return task


def settings(place, **changes: Any):
    values = {"_name": "cmelt_text_mlm", "text_encoder": str(place / "bert"), "text_encoder_config": None}
    return OmegaConf.create({**values, "text_encoder_pretrained": True, **changes})


def test_batches_of_an_epoch_and_those_of_the_next(place) -> None:
    task = task_of(place)
    cfg = settings(place)
    model = task.build_model(cfg)
    assert cfg.text_encoder_config is not None and model.vocab_size == 120
    task.load_dataset("train", combine=True)
    task.load_dataset("valid")
    train, valid = task.dataset("train"), task.dataset("valid")
    assert task.is_training_set(train) and not task.is_training_set(valid)
    shown = {}
    for epoch in (1, 2, 1):
        iterator = task.get_batch_iterator(train, max_sentences=4, seed=1, epoch=epoch)
        batches = list(iterator.next_epoch_itr())
        assert sorted(row for batch in batches for row in batch["id"].tolist()) == list(range(len(train)))
        texts = [batch["net_input"]["text"].tolist() for batch in batches]
        assert shown.setdefault(epoch, texts) == texts
    assert shown[1] != shown[2]
    assert task.evaluation is None  # the criterion alone


def test_what_does_not_fit_is_refused(place, tmp_path) -> None:
    with pytest.raises(DataError, match="trains model._name=cmelt_text_mlm, not 'cmelt'"):
        task_of(place).build_model(SimpleNamespace(_name="cmelt"))
    with pytest.raises(DataError, match="max_text_tokens=65: the text encoder has 64 positions"):
        task_of(place, max_text_tokens=65).build_model(settings(place))
    with pytest.raises(DataError, match="mlm_probability=0.0"):
        task_of(place, mlm_probability=0.0)
    with pytest.raises(DataError, match="task.max_text_tokens=2: 2 tokens are too few"):
        task_of(place, max_text_tokens=2).load_dataset("train", combine=True)
    with pytest.raises(DataError, match="set task.data to a corpus folder"):
        task_of(place, data=None).load_dataset("train", combine=True)
    with pytest.raises(DataError, match="no token ids train.TAG.npz; run preprocess/tokenizer.py --corpus"):
        task_of(place, data=str(tmp_path)).load_dataset("train", combine=True)
    small = write_bert(tmp_path / "small", ["sinus rhythm normal ecg"], vocab_size=60)
    task = task_of(place)
    task.build_model(settings(place, text_encoder=str(small)))
    with pytest.raises(DataError, match="of a vocabulary of 120, the text encoder knows"):
        task.load_dataset("train", combine=True)
    task.state.merge_state_dict({"tokenizer_fingerprint": "sha256:other"})
    with pytest.raises(DataError, match="not the one the model was trained with"):
        task.load_dataset("valid")


def test_training_goes_on_with_the_same_documents_and_lengths_alone(place, tmp_path) -> None:
    known = task_of(place).training_data("train")
    state = {"task_state": {"training_data": known}}
    task_of(place).check_resumption(state, "ck.pt", "train")
    with pytest.raises(DataError, match="its training had other documents or another order \\(52 documents\\)"):
        task_of(place, max_text_tokens=16).check_resumption(state, "ck.pt", "train")
    write_corpus(tmp_path / "corpus", place / "bert", n=40)
    with pytest.raises(DataError, match="has \\(32\\)"):
        task_of(tmp_path).check_resumption(state, "ck.pt", "train")
