"""Exported folders open elsewhere exactly as they were, hold nothing of the machine, and are described in a model card."""

from __future__ import annotations

import json
import shutil

import pytest
import torch
from pretrained_files import TEXTS, random_ecg, write_checkpoint, write_classifier, write_tokenizer_folder
from tiny import write_manifest

from cmelt_plugin.data.files import write_json
from cmelt_plugin.data.text.tokenizer import tokenizer_fingerprint
from cmelt_plugin.errors import DataError
from cmelt_plugin.evaluation.result_files import Result, write_result
from cmelt_plugin.export import main
from cmelt_plugin.models.files.exported import is_exported, write_folder
from cmelt_plugin.models.inference.pretrained import load_pretrained
from tests.models.release_layout import write_release

EXTRA = {
    "extra_state": {
        "train_iterator": {"epoch": 7},
        "val_loss": 5.4321,
        "best": 5.1,
        "metrics": {
            "train": [
                [10, "loss", "AverageMeter", {"val": 1.0, "sum": torch.tensor(30.0), "count": torch.tensor(4.0), "round": 4}],
                [20, "etm_accuracy", "AverageMeter", {"val": 1.0, "sum": 3.0, "count": 4, "round": 4}],
                [30, "lr", "AverageMeter", {"val": 0.1, "sum": 0, "count": 0, "round": None}],
                [100, "ups", "TimeMeter", {"init": 0.0, "n": 3, "round": 2}],
            ]
        },
    },
    "optimizer_history": [{"num_updates": 1234}],
}


@pytest.fixture
def folder(tmp_path):
    write_tokenizer_folder(tmp_path / "tokenizer")
    write_checkpoint(tmp_path / "cmelt.pt", tmp_path / "tokenizer", EXTRA)
    return tmp_path


def export(folder, *options, source=("--checkpoint", "cmelt.pt")):
    return main([source[0], str(folder / source[1]), "--dest", str(folder / "exported"), *map(str, options)])


def assert_same_model(one, other) -> None:
    a, b = one.model.state_dict(), other.model.state_dict()
    assert list(a) == list(b)
    assert all(torch.equal(a[name], b[name]) and a[name].dtype == b[name].dtype for name in a)


def test_round_trip_bit_for_bit_without_the_checkpoint_and_its_tokenizer(folder, tmp_path_factory) -> None:
    original = load_pretrained(folder / "cmelt.pt")
    ecg = random_ecg()
    expected = original.encode_ecg(ecg), original.encode_text(TEXTS)
    assert export(folder) == 0
    elsewhere = tmp_path_factory.mktemp("elsewhere") / "model"
    shutil.move(str(folder / "exported"), elsewhere)
    shutil.rmtree(folder / "tokenizer")
    (folder / "cmelt.pt").unlink()
    loaded = load_pretrained(elsewhere)
    assert_same_model(loaded, original)
    assert not loaded.model.training
    assert torch.equal(loaded.encode_ecg(ecg), expected[0]) and torch.equal(loaded.encode_text(TEXTS), expected[1])
    assert tokenizer_fingerprint(loaded.tokenizer) == loaded.task_state["tokenizer_fingerprint"]
    assert loaded.cfg["task"]["max_text_tokens"] == 16
    assert_same_model(load_pretrained(elsewhere / "model.safetensors"), original)
    # What was exported can be exported again.
    again = elsewhere.parent / "again"
    assert main(["--checkpoint", str(elsewhere), "--dest", str(again)]) == 0
    assert (again / "model.safetensors").read_bytes() == (elsewhere / "model.safetensors").read_bytes()


def test_the_chosen_score_goes_with_the_folder(folder, capsys) -> None:
    assert export(folder, "--score", "product") == 0
    text = load_pretrained(folder / "cmelt.pt", score="product").encode_text(TEXTS)
    loaded = load_pretrained(folder / "exported")
    assert loaded.model.score == "product" and torch.equal(loaded.encode_text(TEXTS), text)
    assert "product" in (folder / "exported" / "README.md").read_text(encoding="utf-8")
    loaded.model.choose_score("cosine")
    write_folder(folder / "later", loaded.model, loaded.cfg, loaded.task_state)
    assert load_pretrained(folder / "later").model.score == "cosine"
    # The configuration of a checkpoint says nothing else than it did.
    assert load_pretrained(folder / "cmelt.pt").model.score == "cosine"


def test_half_precision_halves_the_file_and_the_model_computes_in_its_own(folder) -> None:
    original = load_pretrained(folder / "cmelt.pt")
    export(folder)
    whole = (folder / "exported" / "model.safetensors").stat().st_size
    assert export(folder, "--precision", "float16", "--overwrite") == 0
    assert (folder / "exported" / "model.safetensors").stat().st_size < 0.6 * whole
    loaded, expected = load_pretrained(folder / "exported"), original.model.state_dict()
    for name, tensor in loaded.model.state_dict().items():
        assert tensor.dtype == expected[name].dtype
        rounded = tensor.is_floating_point() and tensor.ndim > 1
        assert torch.equal(tensor, expected[name].half().to(tensor.dtype) if rounded else expected[name]), name
    ecg = random_ecg()
    assert torch.nn.functional.cosine_similarity(loaded.encode_ecg(ecg), original.encode_ecg(ecg), dim=-1) > 0.999


def test_weights_too_large_for_half_precision_are_named(folder, tmp_path) -> None:
    loaded = load_pretrained(folder / "cmelt.pt")
    name, weight = next((name, weight) for name, weight in loaded.model.named_parameters() if weight.dim() > 1)
    with torch.no_grad():
        weight[0, 0] = 1e6
    with pytest.raises(DataError, match=f"{name} reaches 1e\\+06, too large for float16"):
        write_folder(tmp_path / "half", loaded.model, loaded.cfg, loaded.task_state, precision=torch.float16)


def test_no_memory_is_stored_twice(folder) -> None:
    from safetensors.torch import load_file

    export(folder)
    config = json.loads((folder / "exported" / "config.json").read_text(encoding="utf-8"))
    stored = load_file(folder / "exported" / "model.safetensors")
    shared = config["shared_tensors"]
    state = load_pretrained(folder / "cmelt.pt").model.state_dict()
    assert set(stored) | set(shared) == set(state) and not set(stored) & set(shared)
    addresses = {(state[name].data_ptr(), state[name].shape) for name in state if state[name].numel()}
    assert len(stored) == len(addresses)
    assert all("embed_tokens" in name or "shared" in name for name in shared)


def test_configuration_is_plain_json_without_folders_of_the_machine(folder) -> None:
    export(folder)
    text = (folder / "exported" / "config.json").read_text(encoding="utf-8")
    config = json.loads(text, parse_constant=lambda name: pytest.fail(f"{name} is not JSON"))
    assert str(folder) not in text and "/home/someone" not in text
    assert (config["library"], config["format"]) == ("cmelt_plugin", 1)
    assert config["cfg"]["model"]["text_encoder_config"]["model_type"] == "t5"
    assert config["task_state"]["tokenizer_fingerprint"].startswith("sha256:")
    files = {path.name for path in (folder / "exported").iterdir()}
    assert files == {"README.md", "config.json", "model.safetensors", "tokenizer"}
    assert "training.json" not in {path.name for path in (folder / "exported" / "tokenizer").iterdir()}


def test_a_classifier_keeps_its_classes_leads_and_thresholds(tmp_path) -> None:
    names = ["AFIB", "SR"]
    write_classifier(tmp_path / "c.pt", names, {"leads": ["I", "II"]}, thresholds=[0.25, float("nan")], pretrained="/gone/x.pt")
    export(tmp_path, source=("--checkpoint", "c.pt"))
    loaded, original = load_pretrained(tmp_path / "exported"), load_pretrained(tmp_path / "c.pt")
    assert_same_model(loaded, original)
    assert (loaded.class_names, loaded.leads, loaded.thresholds) == (names, ("I", "II"), {"AFIB": 0.25})
    ecg = random_ecg()
    assert torch.equal(loaded.classify(ecg)[1], original.classify(ecg)[1])
    text = (tmp_path / "exported" / "config.json").read_text(encoding="utf-8")
    json.loads(text, parse_constant=lambda name: pytest.fail(f"{name} is not JSON"))
    card = (tmp_path / "exported" / "README.md").read_text(encoding="utf-8")
    assert "| AFIB | 0.2500 |" in card and "| SR | – |" in card and "leads I, II." in card
    assert not (tmp_path / "exported" / "tokenizer").exists()


def test_published_weights_become_an_ordinary_model(tmp_path, capsys, monkeypatch) -> None:
    def offline(name):
        raise DataError(f"tokenizer {name!r} cannot be loaded")

    monkeypatch.setattr("cmelt_plugin.models.inference.text_side.load_tokenizer", offline)
    write_release(tmp_path / "release")
    options = ("--lead-order", "mimic-iv-ecg", "--name", "D-BETA")
    assert export(tmp_path, *options, source=("--released", "release/weights.safetensors")) == 0
    assert "no tokenizer is exported" in capsys.readouterr().err
    loaded = load_pretrained(tmp_path / "exported")
    assert_same_model(loaded, load_pretrained(tmp_path / "release", lead_order="mimic-iv-ecg"))
    config = json.loads((tmp_path / "exported" / "config.json").read_text(encoding="utf-8"))
    assert config["leads_of_training"][4:6] == ["aVF", "aVL"]
    card = (tmp_path / "exported" / "README.md").read_text(encoding="utf-8")
    assert "# D-BETA\n" in card and "tokenizer is not in this folder" in card and "google/flan-t5-base" in card


def test_model_card_tells_of_the_run_and_its_data(folder) -> None:
    manifest = write_manifest(folder / "m", n_records=24)
    counts = {"in": 50, "out": 48, "rejected": {"flat": 1, "leads": 1}}
    write_json(
        manifest / "manifest.json",
        {"data_set": "tiny", "counts": counts, "splits": {"train": 24, "valid": 24}, "reports": 6, "notes": ["a note"]},
    )
    result = Result("zero_shot", "ours", "c.pt", "ptb-xl", "ptb-xl-super", "test", 2158, 1900, metrics={"macro_auc": 0.71234})
    result.intervals["macro_auc"] = (0.70, 0.72)
    write_result(folder / "results" / "a", result)
    export(folder, "--manifest", manifest, "--results", folder / "results", "--licence", "cc-by-4.0")
    card = (folder / "exported" / "README.md").read_text(encoding="utf-8")
    for line in (
        "| updates | 1234 |",
        "| epoch | 7 |",
        "| loss | 7.5 |",
        "| etm_accuracy | 0.75 |",
        "| data set | tiny |",
        "| records in | 50 |",
        "| records left out | 2 |",
        "| records in train | 24 of 12 subjects |",
        "- a note",
        "| zero_shot | ptb-xl | test | 2,158 | macro_auc 0.7123 (0.7000–0.7200) |",
        "Weights: cc-by-4.0.",
        "Not a medical device",
    ):
        assert line in card, line
    assert "| lr |" not in card and "| ups |" not in card
    (folder / "about.md").write_text("## Whose it is\n\nOurs.\n", encoding="utf-8")
    export(folder, "--manifest", manifest, "--data-set", "ours", "--about", folder / "about.md", "--overwrite")
    again = (folder / "exported" / "README.md").read_text(encoding="utf-8")
    assert "| data set | ours |" in again and again.index("## Whose it is\n\nOurs.\n\n## Use") < again.index(
        "| records in | 50 |"
    )
    with pytest.raises(DataError, match="none.md: no text in UTF-8"):
        export(folder, "--about", folder / "none.md", "--overwrite")


def test_model_hubs_can_read_the_card(folder) -> None:
    hub = pytest.importorskip("huggingface_hub", reason="comes with transformers")
    export(folder, "--licence", "mit")
    card = hub.ModelCard.load(folder / "exported" / "README.md")
    assert card.data.license == "mit" and card.data.library_name == "cmelt-plugin"
    assert "ecg" in card.data.tags and card.data.pipeline_tag == "feature-extraction"


def test_facts_that_are_not_known_are_not_invented(tmp_path) -> None:
    write_tokenizer_folder(tmp_path / "tokenizer")
    write_checkpoint(tmp_path / "cmelt.pt", tmp_path / "tokenizer")
    export(tmp_path)
    card = (tmp_path / "exported" / "README.md").read_text(encoding="utf-8")
    assert "| updates |" not in card and "None" not in card
    assert card.split("## Training data")[1].startswith("\n\nNot recorded with the weights.")


def test_an_existing_folder_is_replaced_only_when_asked(folder) -> None:
    export(folder)
    with pytest.raises(DataError, match="--overwrite replaces it"):
        export(folder)
    write_checkpoint(folder / "cmelt.pt", folder / "tokenizer", seed=3)
    assert export(folder, "--overwrite") == 0
    assert_same_model(load_pretrained(folder / "exported"), load_pretrained(folder / "cmelt.pt"))
    foreign = folder / "foreign"
    foreign.mkdir()
    (foreign / "thesis.tex").write_text("x", encoding="utf-8")
    with pytest.raises(DataError, match="not an exported model"):
        main(["--checkpoint", str(folder / "cmelt.pt"), "--dest", str(foreign), "--overwrite"])
    with pytest.raises(DataError, match="is a file"):
        main(["--checkpoint", str(folder / "cmelt.pt"), "--dest", str(foreign / "thesis.tex")])
    assert (foreign / "thesis.tex").read_text(encoding="utf-8") == "x"


def test_checkpoints_and_published_weights_are_told_apart(folder) -> None:
    write_release(folder / "release")
    with pytest.raises(DataError, match="--checkpoint"):
        export(folder, source=("--released", "cmelt.pt"))
    with pytest.raises(DataError, match="--released"):
        export(folder, source=("--checkpoint", "release"))


def test_without_its_tokenizer_a_model_is_exported_alone_unless_one_was_named(folder, capsys) -> None:
    shutil.rmtree(folder / "tokenizer")
    with pytest.raises(DataError, match="cannot be loaded"):
        export(folder, "--tokenizer", folder / "none")
    assert export(folder) == 0
    assert "no tokenizer is exported" in capsys.readouterr().err
    assert load_pretrained(folder / "exported").encode_ecg(random_ecg()).shape == (32,)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda f: (f / "model.safetensors").unlink(), "model.safetensors: no such file"),
        (lambda f: (f / "model.safetensors").write_bytes(b"\x10" * 40), "not a readable safetensors file"),
        (lambda f: edit(f, lambda c: c.update(format=2)), "format 2, this version reads format 1"),
        (lambda f: edit(f, lambda c: c.pop("task_state")), "incomplete"),
        (lambda f: edit(f, lambda c: c["cfg"]["model"].update(_name="resnet")), "resnet"),
        (lambda f: edit(f, lambda c: c["cfg"]["model"].update(new_setting=1)), "new_setting"),
        (lambda f: edit(f, lambda c: c["cfg"]["model"].update(fusion_ffn_dim=128)), "do not fit"),
        (lambda f: edit(f, lambda c: c.update(shared_tensors={"a": "b"})), "the tensor b is missing"),
        (lambda f: (f / "config.json").unlink(), "neither an exported model"),
    ],
)
def test_damaged_folders_without_checksums_are_refused(folder, change, message) -> None:
    """As they were exported before there were checksums."""
    export(folder)
    assert is_exported(folder / "exported")
    edit(folder / "exported", lambda config: (config.pop("checksums"), config.pop("checksum")))
    load_pretrained(folder / "exported")
    change(folder / "exported")
    with pytest.raises(DataError, match=message):
        load_pretrained(folder / "exported")


def flip(path) -> None:
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(data)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda f: (f / "model.safetensors").unlink(), "model.safetensors: no such file, and config.json lists it"),
        (lambda f: flip(f / "model.safetensors"), "model.safetensors: not the file that was exported"),
        (lambda f: next((f / "tokenizer").glob("*.json")).unlink(), "tokenizer/.*: no such file, and config.json lists it"),
        (lambda f: flip(next((f / "tokenizer").glob("*.json"))), "tokenizer/.*: not the file that was exported"),
        (lambda f: (f / "tokenizer" / "added_tokens.json").write_text("{}"), "was not exported with this model"),
        (
            lambda f: edit(f, lambda c: c["cfg"]["model"].update(encoder_attention_heads=2)),
            "config.json: not as it was exported",
        ),
        (lambda f: edit(f, lambda c: c["cfg"]["task"].update(max_text_tokens=4)), "config.json: not as it was exported"),
        (lambda f: edit(f, lambda c: c["checksums"].popitem()), "config.json: not as it was exported"),
        (lambda f: edit(f, lambda c: c.pop("checksum")), "config.json: not as it was exported"),
        (lambda f: edit(f, lambda c: c.update(checksums=3)), "config.json: not as it was exported"),
    ],
)
def test_folders_that_are_not_as_they_were_exported_are_refused(folder, change, message) -> None:
    export(folder)
    change(folder / "exported")
    with pytest.raises(DataError, match=message):
        load_pretrained(folder / "exported")


def test_the_model_card_and_what_hubs_add_may_change_and_configurations_may_be_laid_out_anew(folder) -> None:
    export(folder)
    exported = folder / "exported"
    (exported / "README.md").write_text("# mine", encoding="utf-8")
    (exported / ".gitattributes").write_text("*.safetensors filter=lfs", encoding="utf-8")
    (exported / "tokenizer" / ".DS_Store").write_bytes(b"x")
    edit(exported, lambda config: None)  # one line instead of many
    assert_same_model(load_pretrained(exported), load_pretrained(folder / "cmelt.pt"))


def edit(folder, change) -> None:
    path = folder / "config.json"
    config = json.loads(path.read_text(encoding="utf-8"))
    change(config)
    path.write_text(json.dumps(config), encoding="utf-8")
