"""The command: features once, every fraction and seed, and the same probe as the host trains."""

import csv
import json

import numpy as np
import pytest
import torch
import yaml
from finetune_runs import CLASSES, save_pretrained, write_labelled
from hosts import HOSTS, REPOSITORY, host_python, run
from planted_values import planted

from cmelt_plugin.data.batches.rng import epoch_order
from cmelt_plugin.data.directory.manifest import Manifest
from cmelt_plugin.data.files import write_json
from cmelt_plugin.data.leads import LEADS
from cmelt_plugin.errors import DataError
from cmelt_plugin.evaluation.embedding import encoder as encoder_module
from cmelt_plugin.evaluation.embedding.features import extract_features
from cmelt_plugin.evaluation.embedding.records import embed_records
from cmelt_plugin.evaluation.linear_probe import runs as runs_module
from cmelt_plugin.evaluation.linear_probe.__main__ import main
from cmelt_plugin.evaluation.linear_probe.train import ProbeRun, ProbeSettings, seeded_run, train_probes
from cmelt_plugin.evaluation.low_data import shot_rows, subset_rows
from cmelt_plugin.evaluation.metrics.multi_label import macro_auc
from cmelt_plugin.evaluation.metrics.thresholds import choose_thresholds
from cmelt_plugin.evaluation.result_files import read_result, read_results
from cmelt_plugin.models.files.checkpoint import LoadedModel
from cmelt_plugin.models.inference import pretrained as pretrained_module
from cmelt_plugin.models.inference.linear_probe import load_probe
from cmelt_plugin.models.inference.pretrained import Pretrained, load_pretrained

SUPER = ["NORM", "MI", "STTC", "CD", "HYP"]
CPSC = ["AFIB", "VPC", "NORM", "1AVB", "CRBBB", "STE", "PAC", "CLBBB", "STD"]
CONFIGURATIONS = sorted((REPOSITORY / "examples" / "linear_probe").glob("*.yaml"))


def train_one(features, labels, run, settings=None, valid=None):
    return train_probes(features, labels, [run], settings or ProbeSettings(), valid)[0]


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory):
    return save_pretrained(tmp_path_factory.mktemp("pretrained") / "pretrained.pt")


@pytest.fixture(scope="module")
def manifest(tmp_path_factory):
    return write_labelled(tmp_path_factory.mktemp("data") / "loud", {"train": 60, "valid": 24, "test": 30}, unknown=0.05)


def relabel(directory, label_set, names, seed=0):
    """Random labels of another label set, one record with a class, one without."""
    write_json(directory / "labels.json", {"label_set": label_set, "names": names})
    rng = np.random.default_rng(seed)
    for path in directory.glob("*.labels.npy"):
        labels = (rng.random((len(np.load(path)), len(names))) < 0.4).astype(np.float32)
        labels[0], labels[1] = 0, 1
        np.save(path, labels)
    return directory


def options(checkpoint, manifest, results, *more):
    fixed = ["--checkpoint", checkpoint, "--manifest", manifest, "--results", results, "--epochs", 6, "--probe-batch-size", 16]
    return [str(value) for value in (*fixed, "--learning-rate", 0.01, "--bootstrap", 50, *more)]


def test_results_are_means_over_seeds_of_probes_tested_once(checkpoint, manifest, tmp_path, capsys):
    assert main(options(checkpoint, manifest, tmp_path, "--fraction", "0.3", "1", "--seeds", "3")) == 0
    stored = read_results([tmp_path])
    assert [(s.folder.name, s.result.settings["n_train"]) for s in stored] == [("loud-100pct", 60), ("loud-30pct", 18)]
    result = stored[1].result

    # The same by hand: features, MERL's part for seed 42, 43, 44, thresholds from validation data, test scores.
    model = load_pretrained(checkpoint).model
    features, labels = {}, {}
    for split in ("train", "valid", "test"):
        opened = Manifest.open(manifest, split)
        features[split], (labels[split], _) = extract_features(model, opened, progress=False), opened.labels()
    aucs, probes = [], []
    for s in range(3):
        rows = subset_rows(labels["train"], 0.3, "merl", 42 + s)
        settings = ProbeSettings(learning_rate=0.01, batch_size=16, epochs=6)
        valid = (features["valid"], labels["valid"])
        probes.append(train_one(features["train"], labels["train"], seeded_run(rows, 3, 32, s, 16), settings, valid))
        aucs.append(macro_auc(labels["test"], probes[-1].scores(features["test"]), CLASSES).macro)
    assert result.metrics["macro_auc"] == pytest.approx(np.mean(aucs))
    assert result.spread["macro_auc"] == pytest.approx(np.std(aucs, ddof=1))
    assert result.settings["epochs_tested"] == [probe.epoch for probe in probes]
    kept = stored[1].scores()
    np.testing.assert_allclose(kept.scores, probes[0].scores(features["test"]), atol=1e-4)
    thresholds = choose_thresholds(labels["valid"], probes[0].scores(features["valid"]))
    assert [result.per_class[name]["threshold"] for name in CLASSES] == pytest.approx(thresholds.tolist(), abs=1e-4)
    low, high = result.intervals["macro_auc"]
    assert low < result.metrics["macro_auc"] < high
    assert (result.kind, result.label_set, result.n_records, result.n_subjects) == ("linear_probe", "tiny", 30, 15)
    assert result.settings["subset_seeds"] == [42, 43, 44] and result.settings["fraction"] == 0.3
    assert len(result.settings["leads"]) == 12 and result.settings["pool"] == "cls"

    printed = capsys.readouterr().out
    assert f"{100 * np.mean(aucs):.2f} ± {100 * np.std(aucs, ddof=1):.2f}" in printed
    assert "| loud | 18 (30 %) |" in printed and "30 records, 3 classes" in printed
    assert printed.strip().startswith((tmp_path / "linear_probe.md").read_text(encoding="utf-8").split("\n\n")[2][:60])


def test_features_are_extracted_once_for_all_fractions_and_seeds_and_runs(checkpoint, manifest, tmp_path, monkeypatch):
    calls = []
    original = encoder_module.extract_features
    monkeypatch.setattr(encoder_module, "extract_features", lambda *a, **k: calls.append(a) or original(*a, **k))
    arguments = options(checkpoint, manifest, tmp_path / "a", "--fraction", "0.5", "1", "--cache", tmp_path / "cache")
    assert main(arguments) == 0
    assert len(calls) == 3 == len(list((tmp_path / "cache").iterdir()))
    before = {path: path.stat().st_mtime_ns for path in (tmp_path / "cache").iterdir()}
    assert main([*arguments[:5], str(tmp_path / "b"), *arguments[6:]]) == 0
    assert before == {path: path.stat().st_mtime_ns for path in (tmp_path / "cache").iterdir()}
    first, second = (read_result(tmp_path / run / "loud-50pct").result.metrics for run in "ab")
    assert first == second


def test_the_test_split_takes_no_part_in_training_or_choice(checkpoint, tmp_path):
    """Other test labels change the figures, not the probe: no epoch, threshold or subset is chosen by them."""
    kept = []
    for flip in (False, True):
        data = write_labelled(tmp_path / f"data{flip}", {"train": 40, "valid": 20, "test": 20})
        if flip:
            np.save(data / "test.labels.npy", 1 - np.load(data / "test.labels.npy"))
        out = tmp_path / f"out{flip}"
        assert main(options(checkpoint, data, out, "--seeds", "1", "--save-probe", out / "probe.npz")) == 0
        kept.append((load_probe(out / "probe.npz"), read_result(out / f"data{flip}-100pct")))
    (first, one), (second, two) = kept
    assert (first[0].weight == second[0].weight).all() and first[0].epoch == second[0].epoch
    for name in CLASSES:
        assert one.result.per_class[name]["threshold"] == two.result.per_class[name]["threshold"]
        assert one.result.per_class[name]["auc"] == pytest.approx(1 - two.result.per_class[name]["auc"])


def test_probes_on_bfloat16_features_say_so_and_score_as_those_on_float32(checkpoint, manifest, tmp_path):
    found, cache = [], ("--cache", tmp_path / "cache")
    for name, more in (("float32", ()), ("bf16", ("--bf16",))):
        assert main(options(checkpoint, manifest, tmp_path / name, "--seeds", "1", "--select", "last", *cache, *more)) == 0
        stored = read_result(tmp_path / name / "loud-100pct")
        assert stored.result.settings["precision"] == name
        found.append(stored.scores().scores)
    assert len(list((tmp_path / "cache").iterdir())) == 6  # three splits twice
    assert 0 < np.abs(found[0] - found[1]).max() < 0.02 * np.abs(found[0]).max()


def test_few_shots_take_records_of_each_class(checkpoint, manifest, tmp_path, capsys):
    assert main(options(checkpoint, manifest, tmp_path, "--shots", "4", "1")) == 0
    stored = read_results([tmp_path])
    assert [(s.folder.name, s.result.settings["shots"], s.result.settings["seeds"]) for s in stored] == [
        ("loud-1shots", 1, 10),
        ("loud-4shots", 4, 10),
    ]
    result = stored[1].result
    labels, _ = Manifest.open(manifest, "train").labels()
    subjects = [str(name) for name in Manifest.open(manifest, "train").meta(["subject_id"])["subject_id"].to_pylist()]
    rows = shot_rows(labels, 4, 42, [name or f"record {row}" for row, name in enumerate(subjects)])
    assert result.settings["n_train"] == len(rows) and "fraction" not in result.settings
    assert result.notes[:2] == [
        f"Trained on {len(rows)} of 60 records.",
        "4 records with and 4 without each class, as far as there are any.",
    ]
    assert f"{len(rows)} (4 a class)" in capsys.readouterr().out


def test_probes_read_embeddings_of_gaussians(manifest, tmp_path, monkeypatch):
    monkeypatch.setattr(pretrained_module, "load_pretrained", lambda *arguments: planted())
    model = planted().model
    embedding = embed_records(model, Manifest.open(manifest, "train"))
    widths = []

    def recorded(features, *arguments):
        widths.append(features)
        return train_probes(features, *arguments)

    monkeypatch.setattr(runs_module, "train_probes", recorded)
    for kind in ("mean", "gaussian"):
        assert main(options("planted.pt", manifest, tmp_path / kind, "--seeds", "1", "--features", kind)) == 0
        assert read_result(tmp_path / kind / "loud-100pct").result.settings["features"] == kind
    assert np.array_equal(widths[0], embedding.mean.numpy())
    assert np.array_equal(widths[1], np.concatenate([embedding.mean, embedding.log_variance], axis=1))


def test_classes_that_the_part_lacks_are_listed(checkpoint, tmp_path, capsys):
    data = write_labelled(tmp_path / "data", {"train": 40, "valid": 20, "test": 20})
    labels = np.load(data / "train.labels.npy")
    rows = subset_rows(labels, 0.2)
    labels[rows, 1], labels[np.setdiff1d(np.arange(40), rows)[0], 1] = 0, 1
    np.save(data / "train.labels.npy", labels)
    test = np.load(data / "test.labels.npy")
    test[:, 2] = 0
    np.save(data / "test.labels.npy", test)
    assert main(options(checkpoint, data, tmp_path / "out", "--fraction", "0.2", "--seeds", "1")) == 0
    result = read_result(tmp_path / "out" / "data-20pct").result
    assert result.excluded == ["DRIFT"] and any("No positive training record: SINE" in note for note in result.notes)
    printed = capsys.readouterr().out
    assert "no positive training record of SINE" in printed and "no AUC of DRIFT" in printed
    assert result.spread == {}
    arguments = options(checkpoint, data, tmp_path / "ours", "--fraction", "0.2", "--seeds", "2", "--subset", "stratified")
    assert main(arguments) == 0
    assert not any("No positive" in note for note in read_result(tmp_path / "ours" / "data-20pct").result.notes)


def test_distribution_shift_scores_the_union_of_the_matching_classes(checkpoint, tmp_path, capsys):
    source = relabel(write_labelled(tmp_path / "super", {"train": 40, "valid": 20, "test": 20}), "ptb-xl-super", SUPER)
    target = relabel(write_labelled(tmp_path / "cpsc", {"test": 30}, seed=1), "cpsc2018", CPSC, seed=1)
    kept = tmp_path / "probe.npz"
    arguments = options(checkpoint, source, tmp_path / "out", "--seeds", "2", "--fraction", "0.5", "1", "--save-probe", kept)
    assert main([*arguments, "--target", str(target), str(source)]) == 0
    assert [stored.folder.name for stored in read_results([tmp_path / "out"])] == [
        "shift-super-to-cpsc",
        "super-100pct",
        "super-50pct",
    ]
    result = read_result(tmp_path / "out" / "shift-super-to-cpsc").result
    assert (result.kind, result.label_set, result.settings["source"]) == ("shift", "cpsc2018", "ptb-xl-super")
    assert list(result.per_class) == ["NORM", "CD", "STTC"] and result.settings["rule"] == "union"
    assert result.settings["fraction"] == 1.0 and result.settings["seeds"] == 2

    opened = Manifest.open(target, "test")
    labels, _ = opened.labels()
    union = [[2], [3, 4, 7], [5, 8]]  # NORM; 1AVB, CRBBB, CLBBB; STE, STD
    labels = np.stack([labels[:, columns].max(axis=1) for columns in union], axis=1)
    probe, names, _ = load_probe(kept)
    assert names == SUPER
    scores = probe.scores(extract_features(load_pretrained(checkpoint).model, opened, progress=False))[:, [0, 3, 2]]

    again = ["--checkpoint", checkpoint, "--probe", kept, "--target", target, "--results", tmp_path / "kept"]
    assert main([str(value) for value in again]) == 0
    alone = read_result(tmp_path / "kept" / "shift-probe-to-cpsc").result
    expected = macro_auc(labels, scores, ["NORM", "CD", "STTC"])
    assert alone.metrics["macro_auc"] == pytest.approx(expected.macro)
    assert {name: alone.per_class[name]["auc"] for name in expected.per_class} == pytest.approx(expected.per_class)
    assert "kept probe" in capsys.readouterr().out
    with pytest.raises(DataError, match=r"other features than these \(leads\)"):
        main([*map(str, again), "--leads", "2"])
    with pytest.raises(DataError, match=r"other features than these \(precision\)"):
        main([*map(str, again), "--bf16"])


@pytest.mark.parametrize(
    "more, message",
    [
        (["--leads", "X"], "unknown lead X"),
        (["--split", "valid"], "evaluate another split"),
        (["--probe", "p.npz"], "give --manifest to train probes"),
        (["--target", "."], "no such file"),
        (["--fraction", "0.001"], "train.tsv: fraction 0.001 of 60 training records is none"),
    ],
)
def test_what_cannot_be_done_is_refused_in_a_sentence(checkpoint, manifest, tmp_path, more, message):
    with pytest.raises(DataError, match=message):
        main(options(checkpoint, manifest, tmp_path, *more))


def test_sets_without_a_mapping_or_a_validation_split_are_refused(checkpoint, manifest, tmp_path):
    with pytest.raises(DataError, match="use --manifest for those"):
        main(options(checkpoint, manifest, tmp_path, "--target", manifest))
    other = relabel(write_labelled(tmp_path / "cpsc", {"train": 20, "test": 30}), "cpsc2018", CPSC)
    with pytest.raises(DataError, match="no class mapping from tiny to cpsc2018"):
        main(options(checkpoint, manifest, tmp_path, "--target", other))
    with pytest.raises(DataError, match="--select last needs none"):
        main(options(checkpoint, other, tmp_path))
    assert main(options(checkpoint, other, tmp_path / "out", "--select", "last", "--seeds", "1")) == 0
    result = read_result(tmp_path / "out" / "cpsc-100pct").result
    assert "macro_f1" not in result.metrics and result.settings["epochs_tested"] == [6]


@pytest.mark.parametrize("path", CONFIGURATIONS, ids=lambda path: path.stem)
def test_configurations_follow_the_papers_protocol(path):
    values = yaml.safe_load(path.read_text(encoding="utf-8"))
    assert values["model"]["freeze"] == "encoder" and values["model"]["_name"] == "cmelt_classifier"
    assert (values["optimizer"]["_name"], values["optimization"]["lr"], values["optimizer"]["weight_decay"]) == (
        "adam",
        [1e-3],
        0,
    )
    assert (values["dataset"]["batch_size"], values["optimization"]["max_epoch"]) == (128, 200)
    assert (values["lr_scheduler"]["_name"], values["optimization"]["clip_norm"]) == ("fixed", 0)
    assert values["checkpoint"]["save_dir"] == f"checkpoints/linear_probe/{path.stem}"
    defaults = ProbeSettings()
    assert (defaults.learning_rate, defaults.batch_size, defaults.epochs, defaults.weight_decay) == (1e-3, 128, 200, 0)


def test_there_is_a_configuration_for_every_data_set_of_table_2():
    names = ["cpsc2018", "csn", "ptb_xl_form", "ptb_xl_rhythm", "ptb_xl_sub", "ptb_xl_super"]
    assert [path.stem for path in CONFIGURATIONS] == names
    texts = [path.read_text(encoding="utf-8") for path in CONFIGURATIONS]
    assert len({text[text.index("\ncommon:") :].replace(name, "NAME") for name, text in zip(names, texts)}) == 1


@pytest.mark.parametrize("host", HOSTS)
def test_the_host_trains_the_same_probe(host, checkpoint, manifest, tmp_path):
    """fairseq-hydra-train with a configuration of examples/linear_probe, against the probe on extracted features."""
    epochs, size, seed = 3, 16, 5
    overrides = [
        f"task.data={manifest}",
        f"model.pretrained={checkpoint}",
        f"checkpoint.save_dir={tmp_path / 'ck'}",
        f"dataset.batch_size={size}",
        "dataset.num_workers=0",
        f"common.seed={seed}",
        f"optimization.max_epoch={epochs}",
        "optimization.lr=[0.01]",
        *(["common.cpu=true"] if host == "fairseq" else []),
    ]
    place = ["--config-dir", str(REPOSITORY / "examples" / "linear_probe"), "--config-name", "ptb_xl_super"]
    run([host_python(host), "-m", "fairseq_cli.hydra_train", *place, *overrides], host, tmp_path)
    state = torch.load(tmp_path / "ck" / "checkpoint_last.pt", map_location="cpu", weights_only=False)["model"]

    model = load_pretrained(checkpoint).model
    features, labels = {}, {}
    for split in ("train", "test"):
        opened = Manifest.open(manifest, split)
        features[split], (labels[split], _) = extract_features(model, opened, progress=False), opened.labels()

    def batches(epoch):
        order = epoch_order(seed, epoch, 60)
        parts = [order[start : start + size] for start in range(0, 60, size)]
        np.random.RandomState(seed + epoch).shuffle(parts)  # the hosts shuffle the finished batches once more
        return parts

    weight0, bias0 = initial_head(host, checkpoint, seed, tmp_path)
    settings = ProbeSettings(learning_rate=0.01, batch_size=size, epochs=epochs, select="last")
    probe = train_one(features["train"], labels["train"], ProbeRun(batches, weight0, bias0), settings)
    np.testing.assert_allclose(probe.weight, state["head.weight"].numpy(), atol=1e-4)
    np.testing.assert_allclose(probe.bias, state["head.bias"].numpy(), atol=1e-4)
    assert np.abs(probe.weight - weight0).max() > 0.02
    encoder = model.ecg_encoder.state_dict()
    assert all(torch.equal(value, state[f"ecg_encoder.{name}"]) for name, value in encoder.items())
    theirs = features["test"] @ state["head.weight"].numpy().T + state["head.bias"].numpy()
    np.testing.assert_allclose(probe.scores(features["test"]), theirs, atol=1e-3)
    expected = macro_auc(labels["test"], theirs, CLASSES).macro
    assert macro_auc(labels["test"], probe.scores(features["test"]), CLASSES).macro == pytest.approx(expected, abs=1e-4)


INITIAL_HEAD = """
import sys, types, numpy, torch
from cmelt_plugin import host, register
register()
checkpoint, seed, names, dest = sys.argv[1], int(sys.argv[2]), sys.argv[3].split(), sys.argv[4]
torch.manual_seed(seed)
model = host.model_class(types.SimpleNamespace(_name="cmelt_classifier"))
cfg = host.model_config_class(model)(pretrained=checkpoint, freeze="encoder", num_classes=len(names), class_names=names)
head = model.build_model(cfg).head
numpy.savez(dest, weight=head.weight.detach().numpy(), bias=head.bias.detach().numpy())
"""


def initial_head(host, checkpoint, seed, folder):
    """The head the host starts with: it seeds torch and builds the model, whose convolutions draw numbers in its own way."""
    dest = folder / "head.npz"
    run([host_python(host), "-c", INITIAL_HEAD, str(checkpoint), str(seed), " ".join(CLASSES), str(dest)], host, folder)
    with np.load(dest) as head:
        return head["weight"], head["bias"]


def test_the_module_runs_as_a_command(checkpoint, manifest, tmp_path):
    arguments = options(checkpoint, manifest, tmp_path / "out", "--seeds", "1", "--epochs", "2")
    output = run([host_python("fairseq"), "-m", "cmelt_plugin.evaluation.linear_probe", *arguments], "fairseq", tmp_path)
    assert "1 results, tables in linear_probe.md" in output
    assert json.loads((tmp_path / "out" / "loud-100pct" / "result.json").read_text())["command"].startswith("python -m cmelt")


class Amplitudes(torch.nn.Module):
    """An encoder of ECGs alone: how large each lead is."""

    pools = ("mean",)

    def ecg_features(self, ecg, n_samples=None, pool=None):
        return ecg.abs().mean(dim=2)


def test_an_encoder_of_ecgs_alone_is_probed_with_its_own_pool(manifest, tmp_path, monkeypatch):
    alone = Pretrained(LoadedModel(Amplitudes(), {}, {}), "ecg.pt", None)
    monkeypatch.setattr(pretrained_module, "load_pretrained", lambda *arguments: alone)
    assert main(options("ecg.pt", manifest, tmp_path / "out", "--seeds", "1", "--leads", "2")) == 0
    result = read_result(tmp_path / "out" / "loud-100pct").result
    assert result.settings["pool"] == "mean" and result.settings["leads"] == ["I", "II"]
    assert result.per_class["LOUD"]["auc"] > 0.9
    with pytest.raises(DataError, match="pool must be one of mean, not 'cls'"):
        main(options("ecg.pt", manifest, tmp_path / "out", "--pool", "cls"))


def test_sets_of_leads_side_by_side(manifest, tmp_path, monkeypatch, capsys):
    """Each as alone, in a folder of its own; the table says what is lost against the first."""
    alone = Pretrained(LoadedModel(Amplitudes(), {}, {}), "ecg.pt", None)
    monkeypatch.setattr(pretrained_module, "load_pretrained", lambda *arguments: alone)
    more = ("--seeds", "1", "--fraction", "0.5", "1")
    assert main(options("ecg.pt", manifest, tmp_path / "out", *more, "--compare-leads", "all", "V1+V6", "1")) == 0
    results = {stored.folder.name: stored.result for stored in read_results([tmp_path / "out"])}
    names = ["12-leads", "V1+V6", "1-leads"]
    assert set(results) == {f"loud-{name}-{size}pct" for name in names for size in (50, 100)}
    assert main(options("ecg.pt", manifest, tmp_path / "alone", *more, "--leads", "V6", "V1")) == 0
    for size in (50, 100):
        one = read_result(tmp_path / "alone" / f"loud-{size}pct").result
        assert one.metrics == results[f"loud-V1+V6-{size}pct"].metrics and one.settings["leads"] == ["V1", "V6"]
    with open(tmp_path / "out" / "leads.csv", newline="") as handle:
        rows = list(csv.DictReader(handle))
    assert [row["leads"] for row in rows] == [" ".join(LEADS), "V1 V6", "I"] * 2
    for row in rows[3:]:
        lost = float(rows[3]["macro AUC"]) - float(row["macro AUC"])
        assert row["set"] == "loud, 100 %" and float(row["lost"]) == pytest.approx(lost, abs=0.02)
    assert "## Sets of leads" in capsys.readouterr().out
    for wrong, message in ((["2", "I+II"], "a set is named twice"), (["I", "X"], "unknown lead X")):
        with pytest.raises(DataError, match=message):
            main(options("ecg.pt", manifest, tmp_path / "out", "--compare-leads", *wrong))
    with pytest.raises(DataError, match="keep and test a probe with --leads"):
        main(options("ecg.pt", manifest, tmp_path / "out", "--compare-leads", "2", "--save-probe", tmp_path / "p.npz"))
