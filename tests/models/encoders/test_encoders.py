"""Published ECG encoders of others: every weight has one place, and recordings are prepared as their authors do."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path
from typing import Any

import numpy as np
import published_encoders
import pytest
import torch
from hosts import host_python
from pretrained_files import random_ecg
from scipy import signal as scipy_signal

from cmelt_plugin import export
from cmelt_plugin.data.leads import LEADS
from cmelt_plugin.errors import DataError
from cmelt_plugin.models.encoders import ecg_fm, ecg_founder, hubert_ecg
from cmelt_plugin.models.files.released import is_released
from cmelt_plugin.models.inference.portable import TORCHSCRIPT, write_graph
from cmelt_plugin.models.inference.pretrained import load_pretrained

FILES = {
    "ecg_fm": published_encoders.fairseq_wav2vec,
    "ecg_founder": published_encoders.ecg_founder,
    "hubert_ecg": published_encoders.hubert_ecg,
}
MODULES = {"ecg_fm": ecg_fm, "ecg_founder": ecg_founder, "hubert_ecg": hubert_ecg}
ECGS = np.stack([random_ecg(seed=seed) for seed in range(2)]).astype(np.float32)


def write(folder: Path, shapes: dict[str, tuple[int, ...]], name: str = "w.pt", key: str = "model", **config: Any) -> Path:
    torch.save({key: published_encoders.weights(shapes), "cfg": None}, folder / name)
    if config:
        (folder / "config.json").write_text(json.dumps(config), encoding="utf-8")
    return folder / name


@pytest.fixture(params=sorted(FILES))
def case(request: pytest.FixtureRequest, tmp_path: Path) -> tuple[str, Path]:
    config = published_encoders.HUBERT if request.param == "hubert_ecg" else {}
    return request.param, write(tmp_path, FILES[request.param](), **config)


def test_every_weight_is_used_once_and_none_is_missing(case: tuple[str, Path]) -> None:
    name, path = case
    assert is_released(path)
    opened = load_pretrained(path)
    assert opened.cfg["model"]["_name"] == name and not opened.model.training and not opened.reads_text
    module: Any = MODULES[name]
    theirs = published_encoders.weights(FILES[name]())
    converted = module.convert(dict(theirs))
    dropped = [key for key in theirs if module.UNUSED.fullmatch(key)]
    assert len(converted) + len(dropped) == len(theirs)
    state = opened.model.state_dict()
    assert set(state) == set(converted) and all(torch.equal(state[key], converted[key]) for key in state)
    assert opened.ecg_features(ECGS).shape[0] == 2 and opened.encode_ecg(ECGS).norm(dim=1).allclose(torch.ones(2))


def test_a_weight_more_or_less_is_refused(case: tuple[str, Path]) -> None:
    name, path = case
    state = torch.load(path, weights_only=True)["model"]
    needed = next(key for key in reversed(list(state)) if "fc" in key or "encoder.layers.0.final_layer_norm" in key)
    for changed, message in (
        ({key: value for key, value in state.items() if key != needed}, "missing .*" + needed.rpartition(".")[2]),
        ({**state, "encoder.unknown.weight": torch.zeros(1)}, "unexpected .*unknown"),
    ):
        torch.save({"state_dict": changed}, path)
        with pytest.raises(DataError, match=f"w.pt: the weights do not fit.*{message}"):
            load_pretrained(path)


@pytest.mark.parametrize("shapes", (published_encoders.fairseq_wav2vec, published_encoders.hubert_ecg))
def test_fine_tuned_files_open_as_their_encoders(tmp_path: Path, shapes: Any) -> None:
    for name, tuned in (("plain", False), ("tuned", True)):
        (tmp_path / name).mkdir()
        write(tmp_path / name, shapes(tuned), key="model_state_dict", **published_encoders.HUBERT)
    plain, tuned = (load_pretrained(tmp_path / name / "w.pt").model.state_dict() for name in ("plain", "tuned"))
    assert {name: tensor.shape for name, tensor in plain.items()} == {name: tensor.shape for name, tensor in tuned.items()}


def test_ecg_fm_reads_standardised_pieces_and_takes_the_mean_of_whole_ones(tmp_path: Path) -> None:
    opened = load_pretrained(write(tmp_path, published_encoders.fairseq_wav2vec()))
    flat = ECGS.copy()
    flat[:, 3] = 0.7
    leads = (flat - flat.mean(-1, keepdims=True)) / np.where(flat.std(-1, keepdims=True) > 1e-6, flat.std(-1, keepdims=True), 1)
    leads[:, 3] = 0
    with torch.no_grad():
        pieces = [
            opened.model.ecg_encoder(torch.from_numpy(leads[..., part])).states.mean(1)
            for part in (slice(0, 2500), slice(2500, 5000))
        ]
        found = opened.model.ecg_features(torch.from_numpy(flat))
        torch.testing.assert_close(found, (pieces[0] + pieces[1]) / 2, rtol=0, atol=1e-4)
        short = torch.zeros(2, 12, 5000)
        short[..., :4000] = torch.from_numpy(flat[..., :4000])
        alone = opened.model.ecg_features(short[..., :4000])
        torch.testing.assert_close(opened.model.ecg_features(short, torch.tensor([4000, 4000])), alone, rtol=0, atol=1e-5)
    raw = load_pretrained(write(tmp_path, published_encoders.fairseq_wav2vec(), normalisation="none"))
    assert raw.model.signal.normalisation == "none" and not torch.allclose(
        raw.model.ecg_features(torch.from_numpy(flat)), found
    )
    with pytest.raises(DataError, match="normalisation must be one of standardised, none"):
        load_pretrained(write(tmp_path, published_encoders.fairseq_wav2vec(), normalisation="sometimes"))


def test_ecg_fm_computes_what_fairseq_signals_does(tmp_path: Path) -> None:
    script = """
import sys, torch
from fairseq_signals.models.wav2vec2.wav2vec2_cmsc import Wav2Vec2CMSCConfig, Wav2Vec2CMSCModel
torch.manual_seed(0)
sizes = dict(encoder_layers=2, encoder_embed_dim=64, encoder_attention_heads=1, encoder_ffn_embed_dim=48, conv_pos=8)
model = Wav2Vec2CMSCModel(Wav2Vec2CMSCConfig(conv_feature_layers="[(16, 2, 2)] * 4", conv_pos_groups=4, final_dim=16,
                                             quantize_targets=True, **sizes)).eval()
ecg = torch.randn(2, 12, 2500)
with torch.no_grad():
    states = model.extract_features(source=ecg, padding_mask=None)["x"]
torch.save({"model": model.state_dict(), "ecg": ecg, "mean": states.mean(1)}, sys.argv[1])
"""
    path = tmp_path / "w.pt"
    subprocess.run([host_python("fairseq_signals"), "-W", "ignore", "-c", script, str(path)], check=True, timeout=300)
    (tmp_path / "config.json").write_text('{"normalisation": "none"}', encoding="utf-8")
    expected = torch.load(path, weights_only=True)
    with torch.no_grad():
        found = load_pretrained(path).model.ecg_features(expected["ecg"])
    torch.testing.assert_close(found, expected["mean"], rtol=0, atol=1e-5)


def test_ecg_founder_reads_filtered_and_scaled_recordings(tmp_path: Path) -> None:
    opened = load_pretrained(write(tmp_path, published_encoders.ecg_founder()))
    rows = []
    for ecg in ECGS.astype(np.float64):
        out = np.empty_like(ecg)
        for row, lead in enumerate(ecg):
            lead = scipy_signal.filtfilt(*scipy_signal.iirnotch(50, 30, 500), lead)
            lead = scipy_signal.filtfilt(*scipy_signal.butter(4, [0.67, 40], "bandpass", fs=500), lead)
            out[row] = lead - scipy_signal.medfilt(lead, 201)
        rows.append((out - out.mean()) / (out.std() + 1e-8))
    expected = torch.from_numpy(np.stack(rows)).float()
    seen: list[torch.Tensor] = []
    opened.model.first_conv.register_forward_pre_hook(lambda _, inputs: seen.append(inputs[0]))
    features = opened.ecg_features(ECGS)
    torch.testing.assert_close(seen[0], expected, rtol=0, atol=1e-4)
    assert features.shape == (2, 12) and opened.model.layers()[-1](torch.zeros(1, 8, 9)).shape == (1, 12, 5)
    with pytest.raises(DataError, match="a recording of 3000 samples; this encoder reads 4950 and knows no padding"):
        opened.ecg_features(ECGS[..., :3000])
    with pytest.raises(DataError, match="no graph holds"):
        write_graph(tmp_path / "graph", opened, TORCHSCRIPT)


def test_the_network_of_lead_one_reads_lead_one(tmp_path: Path) -> None:
    opened = load_pretrained(write(tmp_path, published_encoders.ecg_founder(1)))
    assert list(opened.leads) == ["I"]
    alone = opened.ecg_features(ECGS[:, :1], leads=["I"])
    torch.testing.assert_close(opened.ecg_features(ECGS), alone, rtol=0, atol=1e-5)
    with pytest.raises(DataError, match="missing I, which the model reads"):
        opened.ecg_features(ECGS[:, 1:2], leads=["II"])


def test_hubert_ecg_reads_one_signal_of_all_leads(tmp_path: Path) -> None:
    path = write(tmp_path, published_encoders.hubert_ecg(), **published_encoders.HUBERT)
    opened = load_pretrained(path)
    taps = scipy_signal.firwin(151, [0.05, 47], pass_zero=False, fs=500)
    filtered = scipy_signal.filtfilt(taps, [1.0], ECGS[0].astype(np.float64), axis=1)
    low, high = filtered.min(1, keepdims=True), filtered.max(1, keepdims=True)
    expected = scipy_signal.decimate((2 * (filtered - low) / (high - low + 1e-8) - 1)[:, :2500].reshape(-1), 5)
    seen: list[torch.Tensor] = []
    opened.model.hubert.feature_extractor.register_forward_pre_hook(lambda _, inputs: seen.append(inputs[0]))
    assert opened.ecg_features(ECGS).shape == (2, 16)
    assert seen[0].shape == (2, 6000)
    np.testing.assert_allclose(seen[0][0], expected, atol=1e-4)
    with pytest.raises(DataError, match="leave lead_order out"):
        load_pretrained(path, lead_order="mimic-iv-ecg")
    (tmp_path / "config.json").unlink()
    with pytest.raises(DataError, match="needs the config.json of its repository beside it"):
        load_pretrained(path)


def test_leads_are_put_into_the_weights(tmp_path: Path) -> None:
    path = write(tmp_path, published_encoders.fairseq_wav2vec())
    order = [*LEADS[:4], "aVF", "aVL", *LEADS[6:]]
    swapped = load_pretrained(path, lead_order=order).model
    columns = [order.index(lead) for lead in LEADS]
    with torch.no_grad():
        one, other = (
            model.ecg_features(torch.from_numpy(ecg))
            for model, ecg in ((swapped, ECGS), (load_pretrained(path).model, ECGS[:, columns]))
        )
    torch.testing.assert_close(one, other, rtol=0, atol=1e-5)


def test_what_is_not_ours_is_not_exported_as_ours(tmp_path: Path) -> None:
    path = write(tmp_path, published_encoders.fairseq_wav2vec())
    with pytest.raises(DataError, match="the encoder of others.*only graphs"):
        export.main(["--released", str(path), "--dest", str(tmp_path / "a")])
    with pytest.raises(DataError, match="ECG side of ecg_fm does not stand alone"):
        export.main(["--released", str(path), "--format", "hf", "--dest", str(tmp_path / "b")])
    assert write_graph(tmp_path / "c", load_pretrained(path), TORCHSCRIPT).difference < 1e-4
