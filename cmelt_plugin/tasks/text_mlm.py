"""``cmelt_text_mlm``: masked language modelling on a corpus folder, the stage before any system is pre-trained."""

import logging
from dataclasses import dataclass, field
from typing import Any, Optional

from omegaconf import II

from cmelt_plugin import host
from cmelt_plugin.data.batches.masked_text import MaskedTextDataset, MaskedTextOptions
from cmelt_plugin.data.corpus.documents import documents_path
from cmelt_plugin.data.corpus.tokens import CorpusTokens
from cmelt_plugin.data.files import fingerprint
from cmelt_plugin.errors import DataError
from cmelt_plugin.tasks.base import ItemTask

logger = logging.getLogger(__name__)
MODEL = "cmelt_text_mlm"


@dataclass
class TextMLMConfig(host.Dataclass):
    data: Optional[str] = field(default=None, metadata={"help": "corpus folder"})
    tokenizer: Optional[str] = field(
        default=None, metadata={"help": "tag of train.<tag>.npz; not needed where the corpus has only one"}
    )
    max_text_tokens: int = field(default=256, metadata={"help": "sentences are packed to sequences of at most so many tokens"})
    mlm_probability: float = field(default=0.15, metadata={"help": "share of words masked (BERT: 0.15)"})
    whole_words: bool = field(
        default=True, metadata={"help": "mask all tokens of a word or none; False: tokens by themselves (BERT's first release)"}
    )
    seed: int = II("common.seed")


@host.register_task("cmelt_text_mlm", dataclass=TextMLMConfig)
class TextMLMTask(ItemTask):
    """The model is built before data are loaded: it says how many tokens it knows and how long texts may be."""

    item = "document"
    data_folder = "a corpus folder (written by preprocess/text_corpus.py)"

    def __init__(self, cfg: TextMLMConfig):
        super().__init__(cfg)
        if not 0.0 < cfg.mlm_probability <= 1.0:
            raise DataError(f"task.mlm_probability={cfg.mlm_probability}: must be above 0 and at most 1")
        self.vocab_size: Optional[int] = None

    def build_model(self, cfg: Any, from_checkpoint: bool = False) -> Any:
        name = getattr(cfg, "_name", None) or cfg.arch
        if name != MODEL:
            raise DataError(f"the task cmelt_text_mlm trains model._name={MODEL}, not {name!r}")
        model = super().build_model(cfg, from_checkpoint)
        longest = model.text_encoder.longest_text
        if longest is not None and self.cfg.max_text_tokens > longest:
            raise DataError(f"task.max_text_tokens={self.cfg.max_text_tokens}: the text encoder has {longest} positions")
        self.vocab_size = model.vocab_size
        return model

    def load_dataset(self, split: str, combine: bool = False, **kwargs: Any) -> None:
        """Open one split. The hosts ask for the training set with ``combine=True`` and for no other one."""
        training = combine and not split.startswith("valid")
        folder = self.data_directory(self.cfg.data)
        tokens = CorpusTokens.load(folder, split, self.cfg.tokenizer)
        self._check_tokenizer(tokens)
        if training:
            self.note_training_data(split)
        options = MaskedTextOptions(
            seed=self.cfg.seed,
            train=training,
            length=self.cfg.max_text_tokens,
            probability=self.cfg.mlm_probability,
            whole_words=self.cfg.whole_words,
        )
        try:
            dataset = MaskedTextDataset(tokens, options)
        except ValueError as error:
            raise DataError(f"task.max_text_tokens={self.cfg.max_text_tokens}: {error}") from None
        if not len(dataset):
            raise DataError(f"{folder}: no words in the documents of {split}")
        self.datasets[split] = dataset
        n_documents, n_tokens = len(tokens.document_offsets) - 1, len(tokens.ids.array)
        logger.info("%s/%s: %d documents, %d tokens, %d sequences", folder, split, n_documents, n_tokens, len(dataset))

    def _check_tokenizer(self, tokens: CorpusTokens) -> None:
        """Refuse token ids of another tokenizer than the checkpoint's, or more than the model knows."""
        known, name = self.state.state_dict.get("tokenizer_fingerprint"), tokens.info["tokenizer"]
        if known not in (None, tokens.info["fingerprint"]):
            raise DataError(
                f"{self.cfg.data}: its token ids are those of the tokenizer {name!r}, which is not the one the model was "
                "trained with; run preprocess/tokenizer.py --corpus with that one"
            )
        if self.vocab_size is not None and tokens.info["vocab_size"] > self.vocab_size:
            raise DataError(
                f"{self.cfg.data}: its token ids are of a vocabulary of {tokens.info['vocab_size']}, the text encoder knows "
                f"{self.vocab_size}; use the tokenizer that belongs to model.text_encoder"
            )
        self.state.merge_state_dict({"tokenizer_fingerprint": tokens.info["fingerprint"]})

    def training_data(self, split: str) -> dict[str, Any]:
        folder = self.data_directory(self.cfg.data)
        tokens = CorpusTokens.load(folder, split, self.cfg.tokenizer)
        return {
            "split": split,
            "records": len(tokens.document_offsets) - 1,
            "order": fingerprint(documents_path(folder, split)),
            "length": self.cfg.max_text_tokens,
        }

    def is_training_set(self, dataset: Any) -> bool:
        return isinstance(dataset, MaskedTextDataset) and dataset.options.train
