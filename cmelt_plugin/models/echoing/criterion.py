"""EchoingECG's loss: ``pcmepp``, the match losses of ECG with report and of ECG with echocardiogram (PCME++).

Both compare with the records of all ranks, with gradients that reach the rank each came from. A batch of one source has one of
the two; the other is logged as of no rows.
"""

from dataclasses import dataclass, field

import torch
from torch import Tensor

from cmelt_plugin import host
from cmelt_plugin.criterions.collapse import spread
from cmelt_plugin.criterions.pretraining import Batch, LossTerm, PretrainingCriterion, Terms, of_batch
from cmelt_plugin.losses.clip import clip_loss
from cmelt_plugin.losses.gather import sum_over_ranks
from cmelt_plugin.losses.pairs import DUPLICATES
from cmelt_plugin.losses.pcmepp import LARGEST_VIB, Gaussian, match_loss_in_rows, vib


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

        Logged, each after the name of the pair of modalities: ``scale`` and ``shift``; ``pseudo_positives`` of a record;
        ``ecg_uncertainty`` and that of the other side, Σσ²; ``ecg_spread``, the standard deviation of means in a batch (0:
        collapsed); ``vib_left_out``, regularisers that were too large. Where ECGs are compared with nothing of ``modality``,
        all are of no rows, for ranks add up their logs by name.
        """
        output, sample, pair = batch.output, batch.sample, f"ecg_{modality}"
        device = sample["id"].device
        nothing = torch.zeros((), device=device), torch.zeros((), device=device)
        names = (
            "scale",
            "shift",
            "pseudo_positives",
            "ecg_uncertainty",
            f"{modality}_uncertainty",
            "ecg_spread",
            "vib_left_out",
        )
        logged = {f"{pair}_{name}": nothing for name in names}
        if f"{modality}_mean" not in output:
            return LossTerm(nothing[0], logged, nothing[1])
        values = {"scale": of_batch(output[f"scale_{pair}"]), "ecg_spread": of_batch(spread(output["ecg_mean"]))}
        if f"{modality}_log_variance" in output:
            loss = self._match(batch, modality, sample[key], values)
        else:
            ecg, other = output["ecg_mean"], output[f"{modality}_mean"]
            (all_ecg, all_other), labels = batch.gather_pairs(sample[key], self.cfg.duplicates, ecg, other)
            loss = clip_loss(ecg, other, all_ecg, all_other, labels, output[f"scale_{pair}"], "mean")
        logged.update({f"{pair}_{name}": value for name, value in values.items()})
        return LossTerm(loss, logged, torch.full((), float(batch.rows), device=device))

    def _match(self, batch: Batch, modality: str, key: Tensor, values: dict[str, tuple[Tensor, Tensor]]) -> Tensor:
        """Match losses of Gaussians in both directions and their regularisers, summed over rows; adds to ``values``."""
        output, pair = batch.output, f"ecg_{modality}"
        sides: list[Gaussian] = [(output[f"{side}_mean"], output[f"{side}_log_variance"]) for side in ("ecg", modality)]
        counted = torch.full_like(key, 1 if batch.rows else 0)
        (*columns, all_keys, all_counted), offset = batch.gather(*sides[0], *sides[1], key, counted)
        own_column = torch.arange(len(key), device=key.device) + offset
        scale, shift = output[f"scale_{pair}"], output[f"shift_{pair}"]
        pairs = key, all_keys, own_column, all_counted, scale, shift
        options = self.cfg.duplicates, self.cfg.pseudo_positive_weight, output["matching"], self.cfg.chunk
        ways = [
            match_loss_in_rows(sides[0], (columns[2], columns[3]), *pairs, *options),
            match_loss_in_rows(sides[1], (columns[0], columns[1]), *pairs, *options),
        ]
        loss = (ways[0][0] + ways[1][0]) / batch.rows_of_all_ranks.clamp(min=1)
        left_out = torch.zeros_like(loss.detach())
        rows = torch.full_like(left_out, float(len(key)))
        for side, gaussian in zip(("ecg", modality), sides):
            divergence = vib(*gaussian)
            total = sum_over_ranks(divergence.detach().sum() * (1 if batch.rows else 0), batch.group)
            usable = total <= LARGEST_VIB * batch.rows_of_all_ranks
            loss = loss + self.cfg.vib_weight * torch.where(usable, divergence.sum(), 0.0)
            left_out = left_out + (~usable).to(left_out.dtype)
            values[f"{side}_uncertainty"] = gaussian[1].detach().exp().sum(), rows
        values["shift"], values["vib_left_out"] = of_batch(shift), of_batch(left_out)
        values["pseudo_positives"] = (ways[0][1] + ways[1][1]).to(rows.dtype), 2 * rows
        return loss
