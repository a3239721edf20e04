"""C-MELT behaves as it did before systems had folders of their own: same losses, weights, metrics and files; old files open.

The run and what was recorded of it: ``recorded_run.py``, ``tests/fixtures/cmelt_before_house``. Where processor, libraries and
number of threads are those of the recording, results are the same to the last bit; elsewhere they agree within rounding.
Files of preprocessing are the same everywhere. Values may be added, none may change or go.
"""

from __future__ import annotations

import json
import math
import re
from typing import Any

import pytest
from hosts import HOSTS, host_python

from tests.systems.recorded_run import (
    FIXTURE,
    UPDATES,
    UPDATES_OF_FINETUNING,
    UPDATES_OF_RELEASE,
    UPDATES_RESUMED,
    run_everything,
)

SAME_BITS = ("cpu", "instructions", "threads", "torch", "numpy", "scikit-learn", "transformers")
RELATIVE, ABSOLUTE = 2e-5, 2e-6
LAST_DIGIT_PRINTED = 1.5e-4  # of what a host prints
# Where two scores all but tie, another processor's rounding exchanges them, once in each of eight validations.
# Three ways from a class text to a score, which differed in their last bits, have become one.
ONE_WAY = re.compile(r"/zero_shot/(\d|[^/]+/(scores|per_class/[^/]+/threshold))")
RANKS, EXCHANGED = re.compile(r"/validation_sums/.*(auc|auprc|f1|accuracy|_r\d+)"), 0.1


@pytest.fixture(scope="module", params=HOSTS)
def run(request, tmp_path_factory) -> tuple[dict[str, Any], dict[str, Any]]:
    """What the run gave now, and what was recorded."""
    host_python(request.param)
    expected = json.loads((FIXTURE / "expected.json").read_text(encoding="utf-8"))[request.param]
    return run_everything(request.param, tmp_path_factory.mktemp(request.param) / "work"), expected


def differences(recorded: Any, now: Any, exact: bool, absolute: float = ABSOLUTE, place: str = "") -> list[str]:
    """Where ``now`` is not what was recorded; entries that were added to dictionaries are none.

    Args:
        exact: every bit counts; else numbers agree within rounding, and hashes of numbers are not compared.
        absolute: how far numbers may be apart however small they are.
        place: of both in the whole, for messages.
    """
    exact = exact and not ONE_WAY.search(place)
    if isinstance(recorded, dict) and isinstance(now, dict):
        found = []
        for key, value in recorded.items():
            if key in now:
                if (exact and not ONE_WAY.search(f"{place}/{key}")) or not str(key).endswith("_hash"):
                    found += differences(value, now[key], exact, absolute, f"{place}/{key}")
            else:
                found.append(f"{place}/{key} is gone")
        return found
    if isinstance(recorded, list) and isinstance(now, list) and len(recorded) == len(now):
        pairs = enumerate(zip(recorded, now))
        return [line for i, pair in pairs for line in differences(*pair, exact, absolute, f"{place}/{i}")]
    numbers = isinstance(recorded, (int, float)) and isinstance(now, (int, float))
    if numbers and not exact:
        absolute = EXCHANGED if RANKS.match(place) else absolute
        if math.isclose(recorded, now, rel_tol=RELATIVE, abs_tol=absolute):
            return []
    same = recorded == now or (recorded != recorded and now != now)
    return [] if same else [f"{place}: {recorded!r} was recorded, now {now!r}"]


def assert_as_recorded(
    run: tuple[dict[str, Any], dict[str, Any]], section: str, *commands: str, absolute=ABSOLUTE, mended: str = "$^"
) -> None:
    """Commands ended well, and what they gave is what was recorded, but for values whose place matches ``mended``."""
    now, recorded = run
    for name in commands:
        assert now["exit_codes"][name] == 0, f"{name} failed:\n{now['logs'][name][-6000:]}"
    assert "error" not in now[section], now[section]["error"]
    exact = section == "prepared_files" or all(now["environment"][key] == recorded["environment"][key] for key in SAME_BITS)
    found = differences(recorded[section], now[section], exact, absolute)
    found = [line for line in found if not re.match(mended, line)]
    assert not found, f"{len(found)} differences ({'bit for bit' if exact else 'within rounding'}):\n" + "\n".join(found[:40])


def test_preprocessing_writes_the_same_records_splits_texts_and_negatives(run):
    assert_as_recorded(run, "prepared_files", "synthetic", "records", "labels", "tokenizer", "n3s")


def test_training_logs_the_same_losses_and_ends_with_the_same_weights(run):
    assert list(map(int, sorted(run[1]["training"]["updates"]))) == list(range(1, UPDATES + 1))
    assert_as_recorded(run, "training", "train")


def test_training_in_the_way_of_the_release_does_too(run):
    assert len(run[1]["training_release"]["updates"]) == UPDATES_OF_RELEASE
    # The score of a class was neither cosine nor product: raw ECGs with class texts of unit length.
    assert_as_recorded(run, "training_release", "train_release", mended=r"/validation_sums/.*(auc|_hash)")


def test_an_old_checkpoint_resumes_on_an_old_directory(run):
    assert set(map(int, run[1]["resumed"]["updates"])) == set(range(UPDATES + 1, UPDATES_RESUMED + 1))
    assert_as_recorded(run, "resumed", "verify", "resume")


def test_an_old_checkpoint_validates_as_it_did(run):
    assert_as_recorded(run, "validation", "validate", absolute=LAST_DIGIT_PRINTED)


def test_an_old_checkpoint_fine_tunes_as_it_did(run):
    assert len(run[1]["finetuning"]["updates"]) == UPDATES_OF_FINETUNING
    assert_as_recorded(run, "finetuning", "finetune")


def test_evaluations_give_the_same_metrics(run):
    kinds = {entry["kind"] for entry in run[1]["evaluations"].values()}
    assert kinds == {"zero_shot", "retrieval", "linear_probe", "finetune"}
    # Chance of finding a text counts its copies together now.
    mended = r"/retrieve/.*/metrics/ecg_to_text_(r\d+|median_rank)_chance"
    assert_as_recorded(run, "evaluations", "zero_shot", "retrieve", "linear_probe", "classify", mended=mended)


def test_predictions_are_the_same(run):
    assert_as_recorded(run, "predictions", "predict")


def test_old_checkpoints_and_folders_open_strictly_and_give_the_same_embeddings(run):
    assert_as_recorded(run, "loaded", "export_pretrained", "export_classifier")
    loaded = run[0]["loaded"]
    for checkpoint in ("pretrained", "classifier"):
        copies = [f"old/{checkpoint}.pt", f"old/exported/{checkpoint}", f"exported/{checkpoint}"]
        assert loaded[copies[0]] == loaded[copies[2]]
        # The folder was exported from fairseq's checkpoint.
        assert run[0]["host"] != "fairseq" or loaded[copies[0]] == loaded[copies[1]]


def test_what_is_trained_now_are_the_weights_of_the_old_checkpoints(run):
    now, recorded = run
    for name, difference in now["weight_differences"].items():
        assert difference <= recorded["weight_differences"][name] + RELATIVE, name


@pytest.mark.parametrize("exact", [True, False])
def test_a_small_change_is_seen(exact):
    recorded = {"updates": {"1": {"loss": 8.73, "n": [1, 2.0]}}, "weights_hash": "a"}
    assert not differences(recorded, {**recorded, "more": 1}, exact)
    assert differences(recorded, {"updates": {"1": {"loss": 8.7303, "n": [1, 2.0]}}, "weights_hash": "a"}, exact)
    assert differences(recorded, {"updates": {"1": {"n": [1, 2.0]}}, "weights_hash": "a"}, exact) == ["/updates/1/loss is gone"]
    assert differences(recorded, {"updates": {"1": {"loss": 8.73, "n": [1]}}, "weights_hash": "a"}, exact)
    assert bool(differences(recorded, {**recorded, "weights_hash": "b"}, exact)) == exact
    assert differences(float("nan"), 1.0, exact) and not differences(float("nan"), float("nan"), exact)
