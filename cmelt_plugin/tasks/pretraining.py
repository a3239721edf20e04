"""``cmelt_pretraining``: any registered system on a manifest directory, ECGs with their reports or alone.

What a pass over a split computes follows from what the manifest directory holds: report texts give the losses and
retrieval; labels with class texts give zero-shot classification; both give both. What batches hold beside ECG and report, and
which options of the task say how, is for the system to know (:mod:`cmelt_plugin.data.batches.inputs`).
"""

import dataclasses
import logging
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Optional

import numpy as np
import torch
from omegaconf import II
from torch import Tensor
from torch.nn import functional as F

from cmelt_plugin import host, registry
from cmelt_plugin.data.batches.ecg import ECGDataset
from cmelt_plugin.data.batches.inputs import ECG_TEXT, SOURCES, Inputs
from cmelt_plugin.data.batches.pretraining import PretrainingDataset, PretrainingOptions
from cmelt_plugin.data.directory.manifest import Manifest
from cmelt_plugin.data.directory.own_files import PROMPTS_FILE, REPORTS_FILE
from cmelt_plugin.data.text.padding import padded_texts
from cmelt_plugin.data.text.token_files import open_token_file, token_files
from cmelt_plugin.data.text.tokens import TokenTable
from cmelt_plugin.errors import DataError
from cmelt_plugin.evaluation.validation import TextModelValidation
from cmelt_plugin.joined_config import options_of, with_options
from cmelt_plugin.models.base import TrainedForLosses
from cmelt_plugin.modules.ecg.patches import standardise_leads
from cmelt_plugin.tasks.base import ECGTask

logger = logging.getLogger(__name__)

TRAINING_SPLIT = "train"
SAMPLE, SAMPLE_BATCH = 2048, 64  # records that a model measures something on before it is built


@dataclass
class CommonConfig(host.Dataclass):
    """Options that every system has."""

    data: Optional[str] = field(default=None, metadata={"help": "manifest directory"})
    tokenizer: Optional[str] = field(
        default=None, metadata={"help": "tag of reports.<tag>.npz; not needed where the manifest has only one"}
    )
    max_text_tokens: int = field(default=256, metadata={"help": "longer reports are cut"})
    pad_text_to: int = field(
        default=1,
        metadata={"help": "training texts are padded to multiples of so many tokens; 8: few lengths for model.compile"},
    )
    group_by_length: bool = field(
        default=False,
        metadata={"help": "training batches of texts of similar length, so that less padding is computed"},
    )
    standardise_probability: float = field(
        default=0.0,
        metadata={
            "help": "share of the records that training shows with each lead at zero mean and unit variance, as some data sets "
            "are published; 0: all in mV"
        },
    )
    seed: int = II("common.seed")


_OPTIONS = [option for system in registry.systems().values() for option in options_of(system.inputs_class().Options)]
PretrainingConfig = with_options(CommonConfig, _OPTIONS, "PretrainingConfig", __name__)


@host.register_task("cmelt_pretraining", dataclass=PretrainingConfig)
class PretrainingTask(ECGTask):
    """Pre-training on a manifest directory. The model is built before data are loaded: it says what its batches hold."""

    name = "cmelt_pretraining"

    def __init__(self, cfg: Any):
        super().__init__(cfg)
        if cfg.pad_text_to < 1:
            raise DataError(f"task.pad_text_to={cfg.pad_text_to}: must be at least 1 (1: no more padding than needed)")
        if not 0 <= cfg.standardise_probability <= 1:
            raise DataError(f"task.standardise_probability={cfg.standardise_probability}: must lie between 0 and 1")
        self._system: Optional[registry.System] = None
        self._inputs: Optional[Inputs] = None
        self._built: Optional[tuple[Any, Any]] = None  # settings and model
        self.vocab_size: Optional[int] = None
        self.prompts: dict[ECGDataset, Any] = {}
        self.update = 0

    def build_model(self, cfg: Any, from_checkpoint: bool = False) -> Any:
        name, systems = getattr(cfg, "_name", None) or cfg.arch, registry.systems()
        if name not in systems:
            raise DataError(f"the task {self.name} trains model._name = {', '.join(sorted(systems))}, not {name!r}")
        measure = getattr(host.model_class(cfg), "measure", None)
        if measure is not None and not from_checkpoint:
            measure(cfg, self.training_sample)
        model = super().build_model(cfg, from_checkpoint)
        self.use(systems[name], model)
        self._built = (cfg, model)
        return model

    def build_criterion(self, cfg: Any, *options: Any, **more: Any) -> Any:
        """The hosts build it after the model, and only then put the model into what joins several processes."""
        criterion = super().build_criterion(cfg, *options, **more)
        settings, model = self._built or (None, None)
        if isinstance(model, TrainedForLosses) and not self.loading_checkpoint:
            for name, value in model.train_for(criterion.computed_terms(), criterion.cfg).items():
                setattr(settings, name, value)
        return criterion

    def use(self, system: registry.System, model: Any) -> None:
        """Make batches for ``model`` from now on."""
        inputs_class = system.inputs_class()
        options = {option.name: getattr(self.cfg, option.name) for option in dataclasses.fields(inputs_class.Options)}
        self._system, self._inputs = system, inputs_class(inputs_class.Options(**options), model)
        self.vocab_size = model.vocab_size if system.reads_text else None

    def training_sample(self) -> Iterator[tuple[Tensor, Optional[Tensor]]]:
        """ECGs in mV and their real samples, some at a time, of records evenly spread over the split ``train``.

        Models that measure something before they are built do it on these.
        """
        recordings = ECGDataset(Manifest.open(Path(self.data_directory(self.cfg.data)), TRAINING_SPLIT))
        rows = np.unique(np.linspace(0, len(recordings) - 1, SAMPLE).astype(np.int64))
        for part in np.array_split(rows, -(-len(rows) // SAMPLE_BATCH)):
            yield recordings.read_ecg(part)

    @property
    def inputs(self) -> Inputs:
        """What the system's batches hold."""
        if self._inputs is None:
            raise RuntimeError("build_model comes first: the model says what its batches hold")
        return self._inputs

    @property
    def reads_text(self) -> bool:
        """Whether the system has a text encoder."""
        if self._system is None:
            raise RuntimeError("build_model comes first: the model says what its batches hold")
        return self._system.reads_text

    def load_dataset(self, split: str, combine: bool = False, **kwargs: Any) -> None:
        """Open one split. The hosts ask for the training set with ``combine=True`` and for no other one."""
        directory = Path(self.data_directory(self.cfg.data))
        manifest = Manifest.open(directory, split)
        training = combine and not split.startswith("valid")
        if training:
            self.note_training_data(split)
        names, labels, prompts = self._class_texts(directory, manifest)
        sources = self.sources_of(manifest)
        reads_reports = self.reads_text and (sources is None or bool((sources == SOURCES.index(ECG_TEXT)).any()))
        missing = self._missing_pairs(directory, manifest, sources) if reads_reports else None
        dataset: ECGDataset
        if missing is not None and not training and prompts is not None:
            logger.info("%s/%s: zero-shot classification alone: %s", directory, split, missing)
            dataset = ECGDataset(manifest, labels)
        elif reads_reports and not (directory / REPORTS_FILE).is_file():
            raise DataError(
                f"{directory}: neither reports ({REPORTS_FILE}) nor labels with class texts ({split}.labels.npy, "
                f"labels.json, {PROMPTS_FILE}): nothing to train or evaluate on"
            )
        else:
            tokens = self._tokens(directory, "reports") if reads_reports else None
            dataset = self.paired_dataset(manifest, tokens, training, labels, sources)
        self.prompts[dataset] = (names, prompts)
        self.datasets[split] = dataset
        classes = "" if prompts is None else f", {len(names)} classes"
        logger.info("%s/%s: %d records%s", directory, split, len(dataset), classes)

    def sources_of(self, manifest: Manifest) -> Optional[np.ndarray]:
        """The source of each record of a split, where a task knows several; None: all have their reports."""
        return None

    def paired_dataset(
        self,
        manifest: Manifest,
        tokens: Optional[TokenTable],
        training: bool,
        labels: Optional[np.ndarray],
        sources: Optional[np.ndarray],
    ) -> PretrainingDataset:
        """ECGs of a split with what belongs to them."""
        options = PretrainingOptions(
            seed=self.cfg.seed,
            train=training,
            max_text_tokens=self.cfg.max_text_tokens,
            group_by_length=self.cfg.group_by_length,
            standardise_probability=self.cfg.standardise_probability,
        )
        return PretrainingDataset(manifest, self.inputs, tokens, options, labels)

    def prepared(self, sample: dict[str, Any]) -> dict[str, Any]:
        """A mini-batch in mV, but for the leads of the records that are drawn as ``standardised``."""
        sample = super().prepared(sample)
        if "standardised" not in sample:
            return sample
        inputs = sample["net_input"]
        ecg, chosen = inputs["ecg"], sample["standardised"].view(-1, 1, 1)
        mixed = torch.where(chosen, standardise_leads(ecg, inputs["n_samples"]), ecg)
        return {**sample, "net_input": {**inputs, "ecg": mixed}}

    def train_step(
        self, sample: dict[str, Any], model: Any, criterion: Any, optimizer: Any, update_num: int, **kwargs: Any
    ) -> Any:
        self.update = update_num
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
        inputs, multiple = sample["net_input"], self.cfg.pad_text_to
        fillers = {name: filler for name, filler in self.inputs.text_fillers.items() if inputs.get(name) is not None}
        if multiple == 1 or not fillers:
            return sample
        length = inputs[next(iter(fillers))].shape[1]
        wanted = min(-(-length // multiple) * multiple, max(length, self.cfg.max_text_tokens))
        # Padding is masked, so the token does not matter.
        padded = {name: F.pad(inputs[name], (0, wanted - length), value=filler) for name, filler in fillers.items()}
        return {**sample, "net_input": {**inputs, **padded}}

    def class_texts(self, training: bool, device: Any) -> tuple[Tensor, Tensor]:
        """A text for each class of the training data: ids ``[C, L]`` and their padding (True), the same on every rank.

        Args:
            training: draw one of the texts of each class, anew for each update; else the first one.
            device: where the model is.

        Raises:
            DataError: the manifest directory has no labels with class texts.
        """
        dataset = self.datasets.get(TRAINING_SPLIT)
        names, table = self.prompts[dataset] if dataset is not None else next(iter(self.prompts.values()))
        if table is None or table.class_index is None:
            raise DataError(
                f"{self.cfg.data}: a loss of labels needs labels and class texts; run preprocess/labels.py and then "
                "preprocess/tokenizer.py, or set criterion.label_weight=0"
            )
        rng = np.random.default_rng([self.cfg.seed, self.update])
        places = [np.flatnonzero(table.class_index == number) for number in range(len(names))]
        chosen = np.array([rng.choice(place) if training else place[0] for place in places])
        ids, padding = padded_texts(table, chosen, self.cfg.max_text_tokens)
        return torch.from_numpy(ids).to(device), torch.from_numpy(padding).to(device)

    def is_training_set(self, dataset: ECGDataset) -> bool:
        return isinstance(dataset, PretrainingDataset) and dataset.options.train

    def has_loss(self, sample: dict[str, Any]) -> bool:
        """Not in a split that is there for zero-shot classification alone."""
        return not self.reads_text or "report_id" in sample

    def new_evaluation(self, dataset: ECGDataset, n_batches: int) -> Optional[TextModelValidation]:
        if not self.reads_text:
            return None
        names, prompts = self.prompts[dataset]
        return TextModelValidation(n_batches, names, prompts, self.cfg.max_text_tokens, host.data_parallel_group())

    def _class_texts(self, directory: Path, manifest: Manifest) -> tuple[list[str], Any, Optional[TokenTable]]:
        """Classes and labels of a split, and the token ids of its class texts; None without labels or class texts."""
        labelled = manifest.labels() if self.reads_text else None
        if labelled is None or not (directory / PROMPTS_FILE).is_file():
            return [], None, None
        labels, names = labelled
        return names, labels, self._tokens(directory, "prompts")

    def _missing_pairs(self, directory: Path, manifest: Manifest, sources: Optional[np.ndarray]) -> Optional[str]:
        """What a directory lacks for losses and retrieval; None where it was prepared for them.

        Labelled test sets seldom are. Where other files show that it was, what a single split lacks is an error further on.
        """
        if not (directory / REPORTS_FILE).is_file():
            return "no reports"
        if not token_files(directory, "reports", self.cfg.tokenizer):
            return "no token ids of reports"
        return self.inputs.missing(manifest, sources)

    def _tokens(self, directory: Path, kind: str) -> TokenTable:
        """Token ids of ``kind``; refused when they come from another tokenizer than the checkpoint's."""
        known = self.state.state_dict.get("tokenizer_fingerprint")
        statements = self.inputs.reads_statements
        tokens = open_token_file(directory, kind, self.cfg.tokenizer, known, self.vocab_size, statements)
        self.state.merge_state_dict({"tokenizer_fingerprint": tokens.info["fingerprint"]})
        return tokens
