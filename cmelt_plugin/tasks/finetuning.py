"""What the tasks that train a classifier on an ECG encoder share."""

import dataclasses
import logging
from dataclasses import dataclass, field
from typing import Any, Optional

from omegaconf import II

from cmelt_plugin import host
from cmelt_plugin.data.batches.augmentation import LEAD_SETS_HELP
from cmelt_plugin.data.batches.labelled import LabelledECGDataset, LabelledOptions
from cmelt_plugin.data.leads import LEADS, lead_keep_mask
from cmelt_plugin.errors import DataError
from cmelt_plugin.tasks.base import ECGTask, unwrap

logger = logging.getLogger(__name__)


@dataclass
class FinetuningConfig(host.Dataclass):
    data: Optional[str] = field(default=None, metadata={"help": "manifest directory"})
    leads: list[str] = field(
        default_factory=lambda: list(LEADS),
        metadata={"help": "leads the model sees, in training and evaluation; the others are zero"},
    )
    lead_mask_probability: float = field(
        default=0.0, metadata={"help": "random lead masking: probability of zeroing each of the leads in training"}
    )
    lead_sets: Optional[str] = field(default=None, metadata={"help": LEAD_SETS_HELP})
    seed: int = II("common.seed")


class FinetuningTask(ECGTask):
    """Base: the model's outputs come from the manifest; its frozen parts are left alone by the optimiser."""

    smallest_training_batch = 1

    def __init__(self, cfg: Any):
        super().__init__(cfg)
        self.keep = lead_keep_mask(cfg.leads)
        self.class_names: list[str] = []

    def outputs(self) -> tuple[int, list[str]]:
        """Number of outputs of the model and the names its checkpoints carry, from the manifest."""
        raise NotImplementedError

    def build_model(self, cfg: Any, from_checkpoint: bool = False) -> Any:
        """Build the classifier, with as many outputs as the manifest asks for; a checkpoint's own stay as they are."""
        settings = host.model_config_class(host.model_class(cfg))
        if "class_names" not in {setting.name for setting in dataclasses.fields(settings)}:
            raise DataError(f"the task {type(self).__name__} trains model._name=cmelt_classifier")
        if not from_checkpoint:
            number, names = self.outputs()
            cfg.num_classes, cfg.class_names = number, list(names)
        self.class_names = list(cfg.class_names)
        return super().build_model(cfg, from_checkpoint)

    def initial_weights(self, cfg: Any) -> list[str]:
        return [cfg.pretrained] if cfg.pretrained else []

    def options(self, training: bool) -> LabelledOptions:
        return LabelledOptions(
            seed=self.cfg.seed,
            train=training,
            keep=self.keep,
            lead_mask_probability=self.cfg.lead_mask_probability,
            lead_sets=self.cfg.lead_sets,
        )

    def is_training_set(self, dataset: Any) -> bool:
        return isinstance(dataset, LabelledECGDataset) and dataset.options.train

    def compute_loss(self, sample: dict[str, Any], model: Any, criterion: Any) -> tuple[Any, Any, Any, dict[str, Any]]:
        output = model(**sample["net_input"])
        return (output, *criterion.compute_loss(output, sample))

    def optimizer_step(self, optimizer: Any, model: Any, update_num: int) -> None:
        frozen = unwrap(model).frozen_parameters()
        if frozen:
            host.drop_gradients(optimizer, frozen)
        super().optimizer_step(optimizer, model=model, update_num=update_num)

    @staticmethod
    def for_training(split: str, combine: bool) -> bool:
        """The hosts ask for the training set with ``combine=True`` and for no other one."""
        return combine and not split.startswith("valid")
