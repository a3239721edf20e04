"""A split through the encoders: the same figures as the host's validation computes."""

import numpy as np
import pytest
import torch
from tiny import report_tokens, tiny_model, token_table, write_manifest

from cmelt_plugin.data.directory.manifest import Manifest
from cmelt_plugin.data.store.record_store import RecordStore
from cmelt_plugin.errors import DataError
from cmelt_plugin.evaluation.embedding.pairs import embed_split, pad_texts
from cmelt_plugin.models.checkpoint import LoadedModel
from examples.demo.sections import negative_pairs


@pytest.fixture
def loaded():
    return LoadedModel(tiny_model().eval(), {"task": {"max_text_tokens": 64}}, {"tokenizer_fingerprint": "sha256:tiny"})


def test_every_record_and_report_in_order(tmp_path, loaded):
    directory = write_manifest(tmp_path / "m", n_records=10, n_reports=4, labels=True, short_row=3)
    embedded = embed_split(loaded, directory, "valid", batch_size=4)
    assert embedded.report_id.tolist() == [0, 1, 2, 3]
    assert embedded.report.tolist() == [i % 4 for i in range(10)]
    manifest = Manifest.open(directory, "valid")
    ecg = torch.from_numpy(RecordStore(directory).read(manifest.shard[[3]], manifest.row[[3]]))
    text = torch.tensor([[*report_tokens(2), 1]])
    with torch.no_grad():
        torch.testing.assert_close(
            embedded.ecg[3], loaded.model.embed_ecg(ecg, torch.tensor([3500])).mean[0], rtol=1e-4, atol=1e-5
        )
        torch.testing.assert_close(embedded.text[2], loaded.model.embed_text(text).mean[0], rtol=1e-4, atol=1e-5)
    assert embedded.names == ["AFIB", "SR"] and embedded.scores.shape == embedded.labels.shape == (10, 2)


def test_without_labels_there_are_no_scores(tmp_path, loaded):
    embedded = embed_split(loaded, write_manifest(tmp_path / "m", n_records=6, n_reports=3, k=2), "valid")
    assert embedded.labels is None and embedded.scores is None and embedded.names == []


def test_another_tokenizer_and_several_token_files_are_refused(tmp_path, loaded):
    directory = write_manifest(tmp_path / "m", n_records=6, n_reports=3, k=2)
    with pytest.raises(DataError, match="another tokenizer"):
        embed_split(loaded._replace(task_state={"tokenizer_fingerprint": "sha256:other"}), directory, "valid")
    (directory / "reports.second.npz").write_bytes((directory / "reports.tiny.npz").read_bytes())
    with pytest.raises(DataError, match="2 files"):
        embed_split(loaded, directory, "valid")


def test_long_texts_keep_their_last_token():
    ids, padding = pad_texts(token_table([[5, 6, 7, 8], [9]]), np.array([0, 1]), limit=3)
    assert ids.tolist() == [[5, 6, 1], [9, 1, 0]]
    assert padding.tolist() == [[False] * 3, [False, False, True]]


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
