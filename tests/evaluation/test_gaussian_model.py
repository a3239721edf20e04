"""A model of Gaussian embeddings, whose similarity is no dot product: commands, validation, single recordings."""

import numpy as np
import pyarrow.parquet as pq
import pytest
import torch
from labelled_sets import CPSC, write_labelled
from tiny import PAD, report_tokens, token_table, write_manifest
from torch import nn

from cmelt_plugin.data.directory.manifest import Manifest
from cmelt_plugin.data.files import write_json
from cmelt_plugin.data.signal_contract import STORE_SIGNALS
from cmelt_plugin.data.store.record_store import RecordStore
from cmelt_plugin.errors import DataError
from cmelt_plugin.evaluation import retrieve
from cmelt_plugin.evaluation.result_files import read_result
from cmelt_plugin.evaluation.validation import TextModelValidation
from cmelt_plugin.evaluation.zero_shot.__main__ import main as zero_shot
from cmelt_plugin.models.base import Embedding
from cmelt_plugin.models.files.checkpoint import LoadedModel
from cmelt_plugin.models.inference import pretrained as pretrained_module
from cmelt_plugin.models.inference.predictor import Predictor
from cmelt_plugin.models.inference.pretrained import Pretrained
from cmelt_plugin.models.inference.scoring import choose_score

WIDTH = 6
TEXTS = [[5 + c, 6 + 2 * c, 7] for c in range(9)] + [[30 + c] for c in range(9)]  # two of each class
OWNERS = [*range(9), *range(9)]


class Gaussians(nn.Module):
    """Diagonal Gaussians; the closed-form sampled distance of PCME++ in place of a cosine."""

    signal = STORE_SIGNALS

    def __init__(self):
        super().__init__()
        generator = torch.Generator().manual_seed(3)
        self.register_buffer("leads", torch.randn(12, 2 * WIDTH, generator=generator))
        self.register_buffer("words", torch.randn(60, 2 * WIDTH, generator=generator))

    def embed_ecg(self, ecg, n_samples=None):
        mean, log_variance = (10 * ecg[:, :, :500].mean(dim=2) @ self.leads).chunk(2, dim=1)
        return Embedding(mean, log_variance)

    def embed_text(self, ids, padding_mask=None):
        keep = (~padding_mask).unsqueeze(-1)
        mean, log_variance = ((self.words[ids] * keep).sum(1) / keep.sum(1)).chunk(2, dim=1)
        return Embedding(mean, log_variance)

    def similarity(self, a, b):
        spread = a.log_variance.exp().sum(1)[:, None] + b.log_variance.exp().sum(1)
        return -(a.mean[:, None] - b.mean).square().sum(-1) - spread

    def ensemble(self, texts, group, n_groups):
        rows = [group == index for index in range(n_groups)]
        return Embedding(*(torch.stack([part[row].mean(0) for row in rows]) for part in texts))

    def match_probability(self, similarity):
        return None


def naive_scores(model, directory, split="test"):
    """Record by record, text by text, in NumPy."""
    manifest = Manifest.open(directory, split)
    ecg = RecordStore(manifest.store_root).read(manifest.shard, manifest.row)
    records = 10 * ecg[:, :, :500].mean(axis=2, dtype=np.float64) @ model.leads.numpy()
    classes = np.zeros((9, 2 * WIDTH))
    for text, owner in zip(TEXTS, OWNERS):
        classes[owner] += np.mean([model.words[token].numpy() for token in [*text, 1]], axis=0) / 2
    scores = np.empty((len(records), 9))
    for i, record in enumerate(records):
        for j, own in enumerate(classes):
            squares = (record[:WIDTH] - own[:WIDTH]) ** 2
            scores[i, j] = -(squares + np.exp(record[WIDTH:]) + np.exp(own[WIDTH:])).sum()
    return scores


def prompt_table(directory):
    write_json(directory / "prompts.json", {name: ["one", "two"] for name in CPSC})
    return token_table(TEXTS, directory / "prompts.json", class_index=np.array(OWNERS))


@pytest.fixture
def model():
    return Gaussians().eval()


@pytest.fixture
def loaded(model, monkeypatch):
    """What every command loads, whatever the checkpoint."""
    settings = {"task": {"max_text_tokens": 64}, "model": {}}
    result = Pretrained(LoadedModel(model, settings, {"tokenizer_fingerprint": "sha256:tiny"}), "gaussian.pt", None)
    monkeypatch.setattr(pretrained_module, "load_pretrained", lambda *arguments: result)
    return result


def test_zero_shot_with_thresholds_and_cache(model, loaded, tmp_path):
    directory = write_labelled(tmp_path / "m", "cpsc2018")
    prompt_table(directory).save(directory / "prompts.tiny.npz")
    expected = naive_scores(model, directory)
    for results in ("first", "second"):  # the second from the cache
        arguments = ["--checkpoint", "gaussian.pt", "--manifest", directory, "--cache", tmp_path / "cache", "--bootstrap", 20]
        assert zero_shot([str(value) for value in (*arguments, "--results", tmp_path / results)]) == 0
        stored = read_result(tmp_path / results / "m")
        np.testing.assert_allclose(stored.scores().scores, expected, rtol=1e-4)
        assert "macro_f1" in stored.result.metrics and stored.result.settings["prompt_kind"] == "unknown"


def test_retrieval(model, loaded, tmp_path):
    directory = write_manifest(tmp_path / "m", n_records=24, n_reports=6, splits=("test",))
    assert retrieve.main([*f"--checkpoint x --manifest {directory} --results {tmp_path / 'out'} --bootstrap 0".split()]) == 0
    result = read_result(tmp_path / "out" / "retrieval-m").result
    assert "score" not in result.settings  # it compares in one way
    with pytest.raises(DataError, match="gaussian.pt: score 'cosine' cannot be chosen"):
        choose_score(model, "cosine", "gaussian.pt")
    manifest = Manifest.open(directory, "test")
    ecg = model.embed_ecg(torch.from_numpy(RecordStore(directory).read(manifest.shard, manifest.row)))
    texts = [torch.tensor([[*report_tokens(report), 1]]) for report in range(6)]
    text = [model.embed_text(ids, ids == PAD) for ids in texts]
    scores = torch.cat([model.similarity(ecg, one) for one in text], dim=1).numpy()
    own = pq.read_table(directory / "test.meta.parquet")["report_id"].to_numpy()
    ranks = np.array([(row >= row[report]).sum() for row, report in zip(scores, own)])
    assert result.metrics["distinct_ecg_to_text_r1"] == pytest.approx(np.mean(ranks <= 1))
    assert result.metrics["distinct_ecg_to_text_median_rank"] == np.median(ranks)
    dots = (ecg.mean @ torch.cat([one.mean for one in text]).T).numpy()
    assert (ranks != [(row >= row[report]).sum() for row, report in zip(dots, own)]).any()


def test_validation_in_training(model, tmp_path):
    directory = write_labelled(tmp_path / "m", "cpsc2018")
    manifest = Manifest.open(directory, "test")
    labels, names = manifest.labels()
    evaluation = TextModelValidation(2, names, prompt_table(directory), 64)
    ecg = torch.from_numpy(RecordStore(directory).read(manifest.shard, manifest.row))
    for rows in (slice(0, 7), slice(7, 12)):
        part = {"ecg": ecg[rows], "n_samples": None}
        sample = {"id": torch.arange(12)[rows], "net_input": part, "labels": torch.tensor(labels[rows])}
        sample["report_text"] = torch.arange(3, 15)[rows, None]
        sample.update(report_padding_mask=torch.zeros(12, 1, dtype=torch.bool)[rows], report_id=torch.arange(12)[rows])
        metrics = evaluation.add(model, sample)
    scores = naive_scores(model, directory)
    column = names.index("NORM")
    known = ~np.isnan(labels[:, column])
    positive, score = labels[known, column] == 1, scores[known, column]
    area = np.mean([[p > n for p in score[positive]] for n in score[~positive]])
    assert metrics["auc_NORM"] == pytest.approx(area)
    text = model.embed_text(torch.arange(3, 15)[:, None], torch.zeros(12, 1, dtype=torch.bool))
    similarity = model.similarity(model.embed_ecg(ecg), text)
    ranks = (similarity >= similarity.diagonal()[:, None]).sum(1)
    assert metrics["ecg_to_text_r5"] == pytest.approx((ranks <= 5).float().mean().item())


def test_single_recordings(model, loaded, tmp_path, monkeypatch):
    directory = write_labelled(tmp_path / "m", "cpsc2018")
    table = prompt_table(directory)
    monkeypatch.setattr(Pretrained, "tokenizer", type("Tokenizer", (), {"pad_token_id": PAD})())
    monkeypatch.setattr(Pretrained, "pair_probability", lambda self, similarity: None)
    manifest = Manifest.open(directory, "test")
    ecg = RecordStore(directory).read(manifest.shard, manifest.row)[[0, 2]]
    prompts = {name: [f"a {name}", f"b {name}"] for name in CPSC}
    order = [index for name in range(9) for index in (name, 9 + name)]
    monkeypatch.setattr(loaded, "_token_ids", lambda texts: [table[index] for index in order])
    with pytest.warns():  # noise is no plausible ECG
        names, similarity = loaded.zero_shot(ecg, prompts)
    assert names == CPSC
    np.testing.assert_allclose(similarity.numpy(), naive_scores(model, directory)[[0, 2]], rtol=1e-3)
    predictor = Predictor(loaded, prompts)
    predictions = predictor.predict(["a", "b"], loaded.prepare(ecg), 1)
    assert predictor.kind == "similarity"
    scores = [list(prediction.scores.values()) for prediction in predictions]
    np.testing.assert_allclose(scores, similarity.numpy(), rtol=1e-4)


def test_a_model_without_a_text_encoder_is_refused(tmp_path, monkeypatch):
    directory = write_labelled(tmp_path / "m", "cpsc2018")
    model = nn.Linear(1, 1)
    model.ecg_features = lambda ecg, n_samples=None, pool=None: ecg.mean(2)
    alone = Pretrained(LoadedModel(model, {}, {}), "ecg.pt", None)
    monkeypatch.setattr(pretrained_module, "load_pretrained", lambda *arguments: alone)
    with pytest.raises(DataError, match="ecg.pt: an ECG model that has no text encoder"):
        zero_shot([*f"--checkpoint ecg.pt --manifest {directory} --results {tmp_path / 'out'}".split()])
