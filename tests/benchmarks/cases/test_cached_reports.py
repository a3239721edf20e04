"""Which systems are measured, and that a cache of other vectors is noticed."""

from __future__ import annotations

import pytest
import torch

from benchmarks import systems
from benchmarks.cases.cached_reports import WAYS, check_losses, losses_of, measured_system, write_cache, write_directory
from benchmarks.harness.outcome import NotMeasured


def test_the_system_is_the_first_that_keeps_a_vector_a_report_or_the_one_named() -> None:
    first = measured_system(None)
    assert measured_system(first.name) is first and first.name in systems.known()
    assert first.registered.model_class().cached_tokens is None and measured_system("melp").name == "melp"
    with pytest.raises(NotMeasured, match="cmelt has no task.texts=cached"):
        measured_system("cmelt")


@pytest.mark.parametrize("name", ["melp", "merl"])
def test_vectors_of_another_encoder_would_be_noticed(name: str, tmp_path) -> None:
    system = measured_system(name)
    model, criterion = system.build_model(tiny=True), system.build_criterion()
    tokens = write_directory(tmp_path, 3, 7, model.vocab_size)
    assert tokens.lengths().tolist() == [7, 7, 7]
    write_cache(tmp_path, tokens, model, 7, "cpu")
    losses = {name: losses_of(system, model, criterion, tmp_path, tokens, texts) for name, texts in WAYS.items()}
    check_losses(model, losses)
    with torch.no_grad():
        model.text_encoder.model.embeddings.word_embeddings.weight.mul_(3.0)
    with pytest.raises(AssertionError):
        check_losses(model, losses)
