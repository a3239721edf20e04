"""A held-out split through both encoders, and example negatives."""

import numpy as np
import pytest
import torch
from tiny import report_tokens, tiny_model, write_manifest

from cmelt_plugin.data.directory.manifest import Manifest
from cmelt_plugin.data.store.record_store import RecordStore
from cmelt_plugin.errors import DataError
from cmelt_plugin.models.files.checkpoint import LoadedModel
from cmelt_plugin.models.inference.pretrained import Pretrained
from examples.demo.embedded_split import embed_split
from examples.demo.sections.negatives import negative_pairs


@pytest.fixture
def loaded():
    return pretrained("sha256:tiny")


def pretrained(tokenizer_fingerprint):
    settings = {"task": {"max_text_tokens": 64}, "model": {}}
    loaded = LoadedModel(tiny_model().eval(), settings, {"tokenizer_fingerprint": tokenizer_fingerprint})
    return Pretrained(loaded, "tiny.pt", None)


def test_every_record_and_report_in_order(tmp_path, loaded):
    directory = write_manifest(tmp_path / "m", n_records=10, n_reports=4, labels=True, short_row=3)
    embedded = embed_split(loaded, directory, "valid", batch_size=4)
    assert embedded.text.rows == 4
    assert embedded.report.tolist() == [i % 4 for i in range(10)]
    manifest = Manifest.open(directory, "valid")
    ecg = torch.from_numpy(RecordStore(directory).read(manifest.shard[[3]], manifest.row[[3]]))
    text = torch.tensor([[*report_tokens(2), 1]])
    with torch.no_grad():
        torch.testing.assert_close(
            embedded.ecg.mean[3], loaded.model.embed_ecg(ecg, torch.tensor([3500])).mean[0], rtol=1e-4, atol=1e-5
        )
        torch.testing.assert_close(embedded.text.mean[2], loaded.model.embed_text(text).mean[0], rtol=1e-4, atol=1e-5)
    assert embedded.names == ["AFIB", "SR"] and embedded.scores.shape == embedded.labels.shape == (10, 2)
    assert list(embedded.texts) == embedded.names and all(embedded.texts.values())


def test_without_labels_there_are_no_scores(tmp_path, loaded):
    embedded = embed_split(loaded, write_manifest(tmp_path / "m", n_records=6, n_reports=3, k=2), "valid")
    assert embedded.labels is None and embedded.scores is None and embedded.names == []


def test_without_a_token_file_of_the_models_tokenizer_that_tokenizer_is_needed(tmp_path):
    directory = write_manifest(tmp_path / "m", n_records=6, n_reports=3, k=2)
    with pytest.raises(DataError, match="names no tokenizer"):
        embed_split(pretrained("sha256:other"), directory, "valid")


def test_example_pairs_come_with_their_distance(tmp_path):
    directory = write_manifest(tmp_path / "m", n_records=24, n_reports=6)
    embeddings = np.eye(6)
    embeddings[1] = [0.6, 0.8, 0, 0, 0, 0]
    pairs = negative_pairs(directory, "train", embeddings, n_reports=6)
    assert len(pairs) == len({pair.report for pair in pairs}) >= 3
    for pair in pairs:
        own, other = (int(text.rsplit(" ", 1)[1]) for text in pair[:2])
        assert 1 <= (other - own) % 6 <= 3  # write_manifest's table: the next three reports
        assert pair.distance == pytest.approx(1 - embeddings[own] @ embeddings[other])
