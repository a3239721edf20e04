"""Settings of the wav2vec-style ECG encoder that came later than the first checkpoints, of every system that has it."""

from dataclasses import dataclass, field
from typing import Any, ClassVar


@dataclass
class Wav2VecOptions:
    encoder_additions: ClassVar[dict[str, Any]] = {"extractor_mode": "default", "amplitude_embedding": False}

    extractor_mode: str = field(
        default="default",
        metadata={
            "help": "wav2vec encoder, norms of its convolutions: default (group norm over the recording after the first, which "
            "removes the amplitude), layer_norm (over channels after each, with biases: wav2vec 2.0's other mode) or fixed "
            "(learned factors and biases, no statistic of the recording)"
        },
    )
    amplitude_embedding: bool = field(
        default=False,
        metadata={
            "help": "wav2vec encoder: logarithms of each lead's amplitudes, projected and added to all tokens; flat, hidden or "
            "missing leads add nothing"
        },
    )
