"""Configuration of the classifier on a pre-trained ECG encoder."""

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Optional

from cmelt_plugin import registry
from cmelt_plugin.joined_config import Option, options_of, with_options


@dataclass
class HeadConfig:
    """Options that the encoder of every system has."""

    pretrained: Optional[str] = field(
        default=None,
        metadata={
            "help": "where the ECG encoder comes from: a checkpoint of this plugin, an exported folder or published weights; "
            "null: random weights and the sizes below"
        },
    )
    encoder: Optional[str] = field(
        default=None,
        metadata={"help": "system whose ECG encoder it is; filled in from pretrained, to be set for random weights"},
    )
    pool: Optional[str] = field(
        default=None,
        metadata={"help": "how features are pooled, one of the encoder's ways (C-MELT: cls or mean); null: the first of them"},
    )
    head_dropout: float = field(default=0.0, metadata={"help": "dropout on the features before the linear layer"})
    freeze: str = field(
        default="none", metadata={"help": "none: everything is trained; encoder: the linear layer alone (linear probe)"}
    )
    freeze_updates: int = field(
        default=0, metadata={"help": "updates in which only the linear layer is trained; the encoder follows after them"}
    )
    # Filled in by the task.
    num_classes: int = field(default=0, metadata={"help": "outputs; filled in from the manifest"})
    class_names: list[str] = field(
        default_factory=list, metadata={"help": "names of the outputs in order; filled in from the manifest"}
    )


def encoder_options() -> Iterator[Option]:
    """The settings of every system's ECG encoder; null: filled in, so that a checkpoint of the classifier stands alone."""
    for system in registry.systems().values():
        config = system.config_class()
        known = {option.name: option for option in options_of(config)}
        for name in config.encoder_sizes:
            text = f"{known[name].help}; null: that of the pre-trained encoder, or the default"
            yield Option(name, Optional[known[name].type], None, text)
        for name, default in config.encoder_training.items():
            text = known[name].help + ("; null: as in pre-training (from scratch: the default)" if default is None else "")
            yield Option(name, Optional[known[name].type] if default is None else known[name].type, default, text)


ClassifierConfig = with_options(HeadConfig, encoder_options(), "ClassifierConfig", __name__)
