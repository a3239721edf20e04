"""A short training on synthetic hearts passes small forms of the gates of docs/echoing.md; before it, the model does not."""

from __future__ import annotations

import json
from typing import Any, NamedTuple

import numpy as np
import torch
from sklearn.metrics import roc_auc_score
from tiny_merl import TINY_BERT
from torch import Tensor

from cmelt_plugin.data.teacher import entry_of_videos
from cmelt_plugin.data.teacher.entries import entry_of_frames
from cmelt_plugin.evaluation.metrics.prompt_regression import prompt_regression
from cmelt_plugin.evaluation.metrics.regression import spearman
from cmelt_plugin.evaluation.metrics.retrieval import chance_recall, pair_recalls
from cmelt_plugin.models.base import Embedding
from cmelt_plugin.models.echoing.config import EchoingConfig
from cmelt_plugin.models.echoing.criterion import PCMEPPCriterion, PCMEPPCriterionConfig
from cmelt_plugin.models.echoing.model import EchoingECG
from preprocess.synthetic_ecg.echo.echo_frames import DIM, draw_prompts, draw_videos, heart_of
from preprocess.synthetic_ecg.echo.ejection import plan_with_ejection
from preprocess.synthetic_ecg.physiology.subjects import draw_subject
from preprocess.synthetic_ecg.record import render

SEED, TRAIN, TEST, BATCH, UPDATES = 1, 480, 100, 32, 160
NOISE = 0.3  # times the usual


class Hearts(NamedTuple):
    """N hearts.

    Attributes:
        ecg: ``[N, 12, 500]``.
        echo: N Gaussians of the synthetic teacher.
        ejection: ``[N]``, per cent.
    """

    ecg: Tensor
    echo: Embedding
    ejection: np.ndarray


def draw_hearts(indices: range) -> Hearts:
    """The first five seconds of records at 100 Hz, each of a subject of its own."""
    ecgs, studies, ejections = [], [], []
    for index in indices:
        plan, ejection = plan_with_ejection(SEED, index, index, draw_subject(SEED, index), NOISE)
        videos = [entry_of_frames("", frames) for frames in draw_videos(SEED, index, heart_of(plan, ejection))]
        ecgs.append(render(plan, rate=100)[:, :500] / 0.2)
        studies.append(entry_of_videos("", videos))
        ejections.append(ejection)
    mean, log_variance = (np.stack([getattr(study, name) for study in studies]) for name in ("mean", "log_variance"))
    gaussians = Embedding(torch.from_numpy(mean).float(), torch.from_numpy(log_variance).float())
    return Hearts(torch.from_numpy(np.stack(ecgs)), gaussians, np.array(ejections))


def metrics(model: Any, hearts: Hearts) -> dict[str, float]:
    """The three gated metrics: Spearman of estimates by the teacher's texts, AUROC of EF < 40 by them, recall over chance."""
    with torch.no_grad():
        ecg = model.eval().embed_ecg(hearts.ecg)
    prompts = draw_prompts(SEED)
    cosine = ecg.mean.numpy() @ prompts.emb.T
    values = np.asarray(prompts.value)
    reduced = cosine[:, values < 40].mean(1) - cosine[:, values > 55].mean(1)
    n = len(hearts.ejection)
    recall = pair_recalls(model, ecg, hearts.echo, torch.arange(n), other="echo")["ecg_to_echo_r5"]
    return {
        "spearman": spearman(prompt_regression(cosine[:, None], values), hearts.ejection),
        "auroc": roc_auc_score(hearts.ejection < 40, reduced),
        "recall_over_chance": recall / chance_recall(n, np.ones(n, dtype=np.int64), 5),
    }


def test_an_ecg_learns_to_answer_for_its_echocardiogram() -> None:
    train, test = draw_hearts(range(TRAIN)), draw_hearts(range(TRAIN, TRAIN + TEST))
    torch.manual_seed(0)
    config = EchoingConfig(
        ecg_width=4,
        ecg_blocks="1, 1, 1",
        normalisation="none",
        embed_dim=DIM,
        text_encoder_config=json.dumps(TINY_BERT),
        text_encoder_pretrained=False,
        scale_init=30.0,
        shift_init=25.0,
    )
    model = EchoingECG.build_model(config)
    before = metrics(model, test)
    criterion = PCMEPPCriterion(PCMEPPCriterionConfig(), None).train()
    optimiser = torch.optim.AdamW(model.parameters(), lr=3e-3)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimiser, 3e-3, UPDATES)
    assert train.echo.log_variance is not None
    model.train()
    order = torch.cat([torch.randperm(TRAIN) for _ in range(UPDATES * BATCH // TRAIN + 1)])
    for rows in order.split(BATCH)[:UPDATES]:
        echo = {"teacher_mean": train.echo.mean[rows], "teacher_log_variance": train.echo.log_variance[rows]}
        sample = {"id": rows, "ntokens": BATCH, "teacher_row": rows, "net_input": {"ecg": train.ecg[rows], **echo}}
        loss, n, _ = criterion(model, sample)
        optimiser.zero_grad()
        (loss / n).backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimiser.step()
        schedule.step()
    after = metrics(model, test)
    for name, gate in {"spearman": 0.5, "auroc": 0.75, "recall_over_chance": 4.0}.items():
        assert not before[name] >= gate, (name, before)  # NaN where all estimates are one
        assert after[name] > gate, (name, after)
