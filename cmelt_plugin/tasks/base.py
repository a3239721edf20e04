"""What every task of this plugin shares: batches of a fixed number of items, and metrics over whole splits.

Batches carry ECGs as they are stored, in int16, through the workers and to the device; there they become float32 mV before
anything else sees them. fairseq's ``common.bf16`` and ``common.fp16`` round every float32 tensor of a batch on its way, but no
integers: masked ECG modelling compares with the exact signal.
"""

import functools
import logging
import os
from typing import Any, Optional

import torch

from cmelt_plugin import host
from cmelt_plugin.criterions.base import METRIC, METRIC_RANKS
from cmelt_plugin.data.batches.items import ItemDataset
from cmelt_plugin.data.directory.training_data import (
    EARLIER_TRAINING_DATA,
    TRAINING_DATA,
    same_training,
    training_fingerprint,
    trainings_of,
)
from cmelt_plugin.data.millivolts import batch_in_mv
from cmelt_plugin.errors import DataError
from cmelt_plugin.evaluation.validation import ValidationPass
from cmelt_plugin.models.files.training_history import file_trainings

logger = logging.getLogger(__name__)


def unwrap(model: Any) -> Any:
    """The model behind the host's distributed wrappers."""
    while hasattr(model, "module"):
        model = model.module
    return model


class ItemTask(host.Task):
    """Base of the tasks; subclasses load data sets and say how a split is evaluated."""

    smallest_training_batch = 1
    item = "record"
    """What the items of its data sets are called."""
    data_folder = "a manifest directory (written by one of the preprocess commands)"
    """What ``task.data`` is."""

    def __init__(self, cfg: Any):
        super().__init__(cfg)
        self.state = host.task_state()
        self.loading_checkpoint = False
        self.evaluation: Optional[ValidationPass] = None
        self.training_batch_size: Optional[int] = None

    @classmethod
    def setup_task(cls, cfg: Any, **kwargs: Any) -> "ItemTask":
        return cls(cfg)

    @property
    def source_dictionary(self) -> None:
        return None

    @property
    def target_dictionary(self) -> None:
        return None

    def build_model(self, cfg: Any, from_checkpoint: bool = False) -> Any:
        """Build the model; what its checkpoint must hold to stand alone is written into ``cfg`` first."""
        self.loading_checkpoint = from_checkpoint
        prepare = getattr(host.model_class(cfg), "prepare_config", None)
        if prepare is not None:
            prepare(cfg)
        earlier = [] if from_checkpoint else [one for path in self.initial_weights(cfg) for one in file_trainings(path)]
        if earlier:
            self.state.merge_state_dict({EARLIER_TRAINING_DATA: earlier})
        return super().build_model(cfg, from_checkpoint)

    def new_evaluation(self, dataset: Any, n_batches: int) -> Optional[ValidationPass]:
        """How a pass over ``dataset`` is evaluated; None: by the criterion alone."""
        return None

    def evaluated(self, evaluation: ValidationPass) -> None:
        """Called when a pass is complete."""

    def training_data(self, split: str) -> dict[str, Any]:
        """What tells the items of training and their order apart: plain values that are kept in checkpoints.

        Their number is ``records``.
        """
        raise NotImplementedError

    def note_training_data(self, split: str) -> None:
        """To be called when the training set is loaded, so that checkpoints say what they were trained on.

        What is there already is a checkpoint's that this training goes on from, maybe with other data.
        """
        now, known = self.training_data(split), self.state.state_dict
        last = known.get(TRAINING_DATA)
        if last is not None and not same_training(last, now):
            self.state.merge_state_dict({EARLIER_TRAINING_DATA: trainings_of(known)})
        self.state.merge_state_dict({TRAINING_DATA: now})

    def initial_weights(self, cfg: Any) -> list[str]:
        """Files whose weights a training begins with, from the model's configuration."""
        names = getattr(host.model_config_class(host.model_class(cfg)), "initial_weights", ())
        return [path for name in names if (path := getattr(cfg, name, None))]

    def check_resumption(self, state: dict[str, Any], path: str, split: str) -> None:
        """Refuse to go on from a checkpoint whose training had other items.

        The place in the epoch would be one among other items, and patients who were trained on may be validated on.

        Args:
            state: the checkpoint.
            path: what to name in messages.
            split: name of the training set.

        Raises:
            DataError: the items or their order are not those of the checkpoint's training.
        """
        known = dict(state.get("task_state") or {}).get(TRAINING_DATA)
        if known is None:  # written before this was noted
            return
        now = self.training_data(split)
        if not same_training(known, now):
            then = known.get("records") if isinstance(known, dict) else None
            raise DataError(
                f"{path}: its training had other {self.item}s or another order ({then} {self.item}s) than "
                f"{self.cfg.data}/{split} has ({now['records']}); some would be seen twice, others never, and patients may "
                "have changed between training and validation. Go on with the data it was trained on, or, to train on these "
                "from the start of an epoch: checkpoint.reset_dataloader=true"
            )

    def is_training_set(self, dataset: Any) -> bool:
        raise NotImplementedError

    def collate_function(self, dataset: Any) -> Any:
        """What puts a batch of items together, in the workers."""
        return dataset.collater

    def prepared(self, sample: dict[str, Any]) -> dict[str, Any]:
        """A mini-batch as model and criterion read it, made where it is: on the device."""
        return sample

    def get_batch_iterator(
        self,
        dataset: ItemDataset,
        max_sentences: Optional[int] = None,
        max_signals: Optional[int] = None,
        seed: int = 1,
        num_shards: int = 1,
        shard_id: int = 0,
        num_workers: int = 0,
        epoch: int = 1,
        data_buffer_size: int = 0,
        disable_iterator_cache: bool = False,
        skip_remainder_batch: bool = False,
        **unused: Any,
    ) -> Any:
        """The host's epoch iterator over batches of ``dataset.batch_size`` items in the data set's own order.

        Raises:
            DataError: no batch size is set.
        """
        size = max_sentences or max_signals
        if not size:
            raise DataError(f"set dataset.batch_size: {self.item}s are batched by number, not by tokens")
        training = self.is_training_set(dataset)
        if training:
            self.training_batch_size = size
        reusable = dataset.can_reuse_epoch_itr_across_epochs and not disable_iterator_cache
        iterator = self.dataset_to_epoch_iter.get(dataset) if reusable else None
        if iterator is None:
            dataset.set_epoch(epoch)
            batches = dataset.batches(size, num_shards)
            if training and len(batches) > 1 and len(batches[-1]) < self.smallest_training_batch:
                batches.pop()
            iterator = host.epoch_batch_iterator(
                dataset=dataset,
                collate_fn=self.collate_function(dataset),
                batch_sampler=batches,
                seed=seed,
                num_shards=num_shards,
                shard_id=shard_id,
                num_workers=num_workers,
                epoch=epoch,
                buffer_size=data_buffer_size,
                disable_shuffling=dataset.keeps_order_of_batches,
                skip_remainder_batch=skip_remainder_batch,
                # Training gets a new iterator every epoch; workers that outlive theirs would pile up until memory ends.
                persistent_workers=False,
            )
            if reusable:
                self.dataset_to_epoch_iter[dataset] = iterator
        if not training:
            n_batches = -(-len(iterator.frozen_batches) // num_shards)
            self.evaluation = self.new_evaluation(dataset, n_batches)
        return iterator

    def train_step(
        self, sample: dict[str, Any], model: Any, criterion: Any, optimizer: Any, update_num: int, **kwargs: Any
    ) -> Any:
        """The host's step; a repeated batch, whose gradient the host throws away, is marked so."""
        sample = self.prepared(sample)
        if kwargs.get("ignore_grad"):
            sample = {**sample, "ignore_grad": True}
        return super().train_step(
            sample=sample, model=model, criterion=criterion, optimizer=optimizer, update_num=update_num, **kwargs
        )

    def valid_step(self, sample: dict[str, Any], model: Any, criterion: Any, *args: Any, **kwargs: Any) -> Any:
        """Loss of one batch; the last batch of a split carries the metrics of the whole split."""
        model.eval()
        sample = self.prepared(sample) if sample else {}
        with torch.no_grad():
            output, loss, size = None, torch.zeros(()), 0
            log: dict[str, Any] = {"sample_size": 0, "nsentences": 0, "nsignals": 0, "ntokens": 0}
            if sample and self.has_loss(sample):
                output, loss, size, log = self.compute_loss(sample, model, criterion)
            if self.evaluation is not None:
                metrics = self.evaluation.add(unwrap(model), sample, output)
                if metrics is not None:
                    self.evaluated(self.evaluation)
                    log.update({f"{METRIC}{name}": value for name, value in metrics.items()})
                    log[METRIC_RANKS] = 1
        return loss, size, log

    def has_loss(self, sample: dict[str, Any]) -> bool:
        """Whether the criterion can be computed for a validation batch."""
        return True

    def compute_loss(self, sample: dict[str, Any], model: Any, criterion: Any) -> tuple[Any, Any, Any, dict[str, Any]]:
        """What the model returned, where the evaluation can use it, and loss, sample size and log of a batch."""
        return (None, *criterion(model, sample))

    def reduce_metrics(self, logging_outputs: Any, criterion: Any) -> None:
        type(criterion).reduce_metrics(logging_outputs)

    @classmethod
    def data_directory(cls, path: Optional[str]) -> str:
        """``task.data`` as an existing folder.

        Raises:
            DataError: not set, or no such folder.
        """
        if not path:
            raise DataError(f"set task.data to {cls.data_folder}")
        if not os.path.isdir(path):
            raise DataError(f"task.data={path}: no such folder")
        return path


class ECGTask(ItemTask):
    """Base of the tasks whose items are the records of a manifest directory."""

    smallest_training_batch = 2  # a single pair has no negatives

    def training_data(self, split: str) -> dict[str, Any]:
        return training_fingerprint(self.data_directory(self.cfg.data), split)

    def collate_function(self, dataset: Any) -> Any:
        return functools.partial(dataset.collater, digital=True)

    def prepared(self, sample: dict[str, Any]) -> dict[str, Any]:
        return batch_in_mv(sample)
