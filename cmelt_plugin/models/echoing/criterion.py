"""EchoingECG's loss: ``pcmepp``, the match losses of ECG with report and of ECG with echocardiogram (PCME++).

Both compare with the records of all ranks, with gradients that reach the rank each came from. A batch of one source has one of
the two; the other is logged as of no rows.
"""

from dataclasses import dataclass, field
from typing import Any

import torch

from cmelt_plugin import host
from cmelt_plugin.criterions.collapse import UncertaintyWatch, spread
from cmelt_plugin.criterions.pretraining import Batch, LossTerm, PretrainingCriterion, Terms, of_batch
from cmelt_plugin.criterions.uncertainty import MatchOptions, PairKeys, match
from cmelt_plugin.losses.clip import clip_loss
from cmelt_plugin.losses.pairs import DUPLICATES


@dataclass
class PCMEPPCriterionConfig(host.Dataclass):
    ecg_text_weight: float = field(default=1.0, metadata={"help": "weight of ECG against report; 0: left out"})
    ecg_echo_weight: float = field(default=1.0, metadata={"help": "weight of ECG against echocardiogram; 0: left out"})
    pseudo_positive_weight: float = field(
        default=0.1, metadata={"help": "weight of the match loss with pseudo-positives beside that without (release: 0.1)"}
    )
    vib_weight: float = field(
        default=1e-4, metadata={"help": "weight of the divergence of each Gaussian from the standard one (release: 1e-4)"}
    )
    duplicates: str = field(
        default="positive",
        metadata={
            "help": "a foreign report identical to the ECG's own, or another ECG of the same echocardiogram: negative, ignore "
            "or positive"
        },
    )
    chunk: int = field(
        default=0,
        metadata={
            "help": "rows of a rank at a time in the match loss: less memory where batches of many ranks make the matrix of "
            "distances large, which is then computed twice; 0: all at once"
        },
    )


@host.register_criterion("pcmepp", dataclass=PCMEPPCriterionConfig)
class PCMEPPCriterion(PretrainingCriterion):
    """Match loss of each pair of modalities: 2 · BCE + α · pseudo-positives + β · VIB, as means over all pairs of all ranks."""

    choices = {"duplicates": DUPLICATES}

    def __init__(self, cfg: PCMEPPCriterionConfig, task: Any):
        super().__init__(cfg, task)
        self.uncertainty_watch = UncertaintyWatch()

    def terms(self) -> Terms:
        return self.weighted(ecg_text=self.ecg_text, ecg_echo=self.ecg_echo)

    def ecg_text(self, batch: Batch) -> LossTerm:
        """ECG against report, both ways."""
        return self._matched(batch, "text", "report_id")

    def ecg_echo(self, batch: Batch) -> LossTerm:
        """ECG against the teacher's Gaussian of its echocardiogram, both ways."""
        return self._matched(batch, "echo", "teacher_row")

    def _matched(self, batch: Batch, modality: str, key: str) -> LossTerm:
        """Pairs of equal ``key`` in the batch are duplicates of each other.

        Logged, each after the name of the pair of modalities, as by :func:`cmelt_plugin.criterions.uncertainty.match`; and
        ``ecg_spread``, the standard deviation of means in a batch (0: collapsed). Where ECGs are compared with nothing of
        ``modality``, all are of no rows, for ranks add up their logs by name.
        """
        output, sample, pair = batch.output, batch.sample, f"ecg_{modality}"
        device = sample["id"].device
        nothing = torch.zeros((), device=device), torch.zeros((), device=device)
        names = (
            "scale",
            "shift",
            "pseudo_positives",
            "ecg_uncertainty",
            "ecg_uncertainty_std",
            f"{modality}_uncertainty",
            f"{modality}_uncertainty_std",
            "ecg_spread",
            "vib_left_out",
        )
        logged = {f"{pair}_{name}": nothing for name in names}
        if f"{modality}_mean" not in output:
            return LossTerm(nothing[0], logged, nothing[1])
        values = {"scale": of_batch(output[f"scale_{pair}"]), "ecg_spread": of_batch(spread(output["ecg_mean"]))}
        if f"{modality}_log_variance" in output:
            cfg = self.cfg
            sides = {side: (output[f"{side}_mean"], output[f"{side}_log_variance"]) for side in ("ecg", modality)}
            options = MatchOptions(cfg.duplicates, cfg.pseudo_positive_weight, cfg.vib_weight, output["matching"], cfg.chunk)
            keys = PairKeys(sample[key], sample[key])
            scale, shift = output[f"scale_{pair}"], output[f"shift_{pair}"]
            loss, more = match(batch, sides, keys, scale, shift, options, self.uncertainty_watch)
            values.update(more)
        else:
            ecg, other = output["ecg_mean"], output[f"{modality}_mean"]
            (all_ecg, all_other), labels = batch.gather_pairs(sample[key], self.cfg.duplicates, ecg, other)
            loss = clip_loss(ecg, other, all_ecg, all_other, labels, output[f"scale_{pair}"], "mean")
        logged.update({f"{pair}_{name}": value for name, value in values.items()})
        return LossTerm(loss, logged, torch.full((), float(batch.rows), device=device))
