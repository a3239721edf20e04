"""``cmelt_pretraining``: paired ECGs and reports.

What a pass over a subset computes follows from what the manifest directory holds: report texts give the losses and
retrieval; labels with class texts give zero-shot classification; both give both.
"""

import logging
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Optional

from omegaconf import II
from torch.nn import functional as F

from cmelt_plugin import host
from cmelt_plugin.data.batches.ecg_text import ECGDataset, ECGTextDataset, PairingOptions
from cmelt_plugin.data.batches.negatives import NegativeTable
from cmelt_plugin.data.directory.manifest import Manifest
from cmelt_plugin.data.text.tokens import TokenTable
from cmelt_plugin.errors import DataError
from cmelt_plugin.evaluation.validation import SubsetEvaluation
from cmelt_plugin.evaluation.zero_shot.class_embeddings import cut_texts
from cmelt_plugin.tasks.base import ECGTask

logger = logging.getLogger(__name__)

NEGATIVES = ("n3s", "random")


@dataclass
class PretrainingConfig(host.Dataclass):
    data: Optional[str] = field(default=None, metadata={"help": "manifest directory"})
    tokenizer: Optional[str] = field(
        default=None, metadata={"help": "tag of reports.<tag>.npz; not needed where the manifest has only one"}
    )
    negatives: str = field(
        default="n3s",
        metadata={"help": "negative reports for ETM: n3s (sidecar of preprocess/n3s.py) or random"},
    )
    lead_mask_probability: float = field(
        default=0.5, metadata={"help": "random lead masking: probability of zeroing each lead in training"}
    )
    mlm_probability: float = field(default=0.25, metadata={"help": "share of words masked"})
    max_text_tokens: int = field(default=256, metadata={"help": "longer reports are cut"})
    pad_text_to: int = field(
        default=1,
        metadata={"help": "training texts are padded to multiples of so many tokens; 8: few lengths for model.compile"},
    )
    group_by_length: bool = field(
        default=False,
        metadata={"help": "training batches of texts of similar length, so that less padding is computed"},
    )
    seed: int = II("common.seed")


@host.register_task("cmelt_pretraining", dataclass=PretrainingConfig)
class CMELTPretrainingTask(ECGTask):
    """Pre-training on a manifest directory."""

    def __init__(self, cfg: PretrainingConfig):
        super().__init__(cfg)
        if cfg.pad_text_to < 1:
            raise DataError(f"task.pad_text_to={cfg.pad_text_to}: must be at least 1 (1: no more padding than needed)")
        self.n_ecg_tokens = 0
        self.vocab_size = 0
        self.prompts = {}

    def build_model(self, cfg: Any, from_checkpoint: bool = False) -> Any:
        model = super().build_model(cfg, from_checkpoint)
        self.n_ecg_tokens = model.n_ecg_tokens
        self.vocab_size = model.text_encoder.vocab_size
        return model

    def load_dataset(self, split: str, combine: bool = False, **kwargs: Any) -> None:
        """Open one split. The hosts ask for the training set with ``combine=True`` and for no other one."""
        directory = Path(self.data_directory(self.cfg.data))
        manifest = Manifest.open(directory, split)
        training = combine and not split.startswith("valid")
        if training:
            self.note_training_data(split)
        labelled = manifest.labels()
        labels, names = labelled if labelled is not None else (None, None)
        prompts = None
        if self._has_class_texts(directory, labels):
            prompts = cut_texts(self._tokens(directory, "prompts", "prompts.json"), self.cfg.max_text_tokens)
        no_pairs = self._no_pairs(directory, manifest)
        if no_pairs is not None and not training and prompts is not None:
            logger.info("%s/%s: zero-shot classification alone: %s", directory, split, no_pairs)
            dataset: ECGDataset = ECGDataset(manifest, labels)
        elif not (directory / "reports.parquet").is_file():
            raise DataError(
                f"{directory}: neither reports (reports.parquet) nor labels with class texts ({split}.labels.npy, "
                "labels.json, prompts.json): nothing to train or evaluate on"
            )
        else:
            dataset = ECGTextDataset(
                manifest,
                self._tokens(directory, "reports", "reports.parquet"),
                PairingOptions(
                    seed=self.cfg.seed,
                    train=training,
                    lead_mask_probability=self.cfg.lead_mask_probability,
                    mlm_probability=self.cfg.mlm_probability,
                    n_ecg_tokens=self.n_ecg_tokens,
                    max_text_tokens=self.cfg.max_text_tokens,
                    group_by_length=self.cfg.group_by_length,
                ),
                self._negatives(directory, split),
                labels if prompts is not None else None,
            )
        self.prompts[dataset] = (names, prompts)
        self.datasets[split] = dataset
        logger.info(
            "%s/%s: %d records%s",
            directory,
            split,
            len(dataset),
            f", {len(names)} classes" if prompts is not None else "",
        )

    def train_step(self, sample: dict[str, Any], model: Any, criterion: Any, optimizer: Any, update_num: int, **kwargs: Any):
        return super().train_step(
            sample=self.with_padded_texts(sample),
            model=model,
            criterion=criterion,
            optimizer=optimizer,
            update_num=update_num,
            **kwargs,
        )

    def with_padded_texts(self, sample: dict[str, Any]) -> dict[str, Any]:
        """A batch whose texts ``[B, L]`` have a length that ``task.pad_text_to`` divides, or ``task.max_text_tokens``."""
        inputs = sample["net_input"]
        length = inputs["text"].shape[1]
        wanted = min(-(-length // self.cfg.pad_text_to) * self.cfg.pad_text_to, max(length, self.cfg.max_text_tokens))
        if wanted == length:
            return sample
        fillers = {"text": 0, "text_padding_mask": True, "mlm_mask": False}  # which token stands there is never read
        padded = {name: F.pad(inputs[name], (0, wanted - length), value=filler) for name, filler in fillers.items()}
        return {**sample, "net_input": {**inputs, **padded}}

    def is_training_set(self, dataset: ECGDataset) -> bool:
        return isinstance(dataset, ECGTextDataset) and dataset.options.train

    def new_evaluation(self, dataset: ECGDataset, n_batches: int) -> SubsetEvaluation:
        names, prompts = self.prompts[dataset]
        return SubsetEvaluation(n_batches, names, prompts, host.data_parallel_group())

    @staticmethod
    def _has_class_texts(directory: Path, labels: Any) -> bool:
        return labels is not None and (directory / "prompts.json").is_file()

    def _no_pairs(self, directory: Path, manifest: Manifest) -> Optional[str]:
        """What a directory lacks for losses and retrieval; None where it was prepared for them.

        Labelled test sets seldom are. Where sidecars show that it was, what a single split lacks is an error further on.
        """
        if not (directory / "reports.parquet").is_file():
            return "no reports"
        if not list(directory.glob(f"reports.{self.cfg.tokenizer or '*'}.npz")):
            return "no token ids of reports"
        if self.cfg.negatives == "n3s":
            return None if list(directory.glob("*.n3s.npy")) else "no negatives (preprocess/n3s.py)"
        without = int((manifest.report_ids() < 0).sum())
        return f"{without} of {len(manifest)} records have no report" if without else None

    def _negatives(self, directory: Path, split: str) -> Optional[NegativeTable]:
        if self.cfg.negatives not in NEGATIVES:
            raise DataError(f"task.negatives must be one of {', '.join(NEGATIVES)}, not {self.cfg.negatives!r}")
        return NegativeTable.load(directory, split) if self.cfg.negatives == "n3s" else None

    def _tokens(self, directory: Path, kind: str, source: str) -> TokenTable:
        """Token ids of ``kind``; refused when they come from another tokenizer than the checkpoint's."""
        tag = self.cfg.tokenizer
        if tag is None:
            found = sorted(path.name for path in directory.glob(f"{kind}.*.npz"))
            if len(found) != 1:
                raise DataError(
                    f"{directory}: {'several token files' if found else 'no token file'} for {source}"
                    f"{': ' + ', '.join(found) if found else ''}; "
                    + ("choose one with task.tokenizer=TAG" if found else f"run preprocess/tokenizer.py --manifest {directory}")
                )
            tag = found[0][len(kind) + 1 : -len(".npz")]
        path = directory / f"{kind}.{tag}.npz"
        tokens = TokenTable.load(path, directory / source)
        known = self.state.state_dict.get("tokenizer_fingerprint")
        if known is not None and known != tokens.info["fingerprint"]:
            raise DataError(
                f"{path} was made with the tokenizer {tokens.info['tokenizer']!r}, which is not the one the model was "
                "trained with; run preprocess/tokenizer.py with that tokenizer"
            )
        if self.vocab_size and tokens.info["vocab_size"] > self.vocab_size:
            raise DataError(
                f"{path} has a vocabulary of {tokens.info['vocab_size']} tokens, the text encoder one of "
                f"{self.vocab_size}; use the tokenizer that belongs to model.text_encoder"
            )
        self.state.merge_state_dict({"tokenizer_fingerprint": tokens.info["fingerprint"]})
        return tokens
