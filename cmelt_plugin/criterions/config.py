"""One configuration for all pre-training criteria, so that ``criterion._name=cmelt_siglep`` alone switches between them."""

from dataclasses import dataclass, field

from cmelt_plugin import host


@dataclass
class CriterionConfig(host.Dataclass):
    mem_target: str = field(
        default="original",
        metadata={
            "help": "what MEM reconstructs: the original signal, or masked_input (the released code: the signal after "
            "lead masking, so that masked leads are zero)"
        },
    )
    duplicates: str = field(
        default="ignore",
        metadata={"help": "a foreign text identical to the ECG's own report: negative (paper), ignore or positive"},
    )
    mlm_weight: float = field(default=1.0, metadata={"help": "weight in cmelt of masked language modelling; 0: left out"})
    mem_weight: float = field(default=1.0, metadata={"help": "weight in cmelt of masked ECG modelling; 0: left out"})
    etm_weight: float = field(default=1.0, metadata={"help": "weight in cmelt of ECG–text matching; 0: left out"})
    siglep_weight: float = field(default=1.0, metadata={"help": "weight in cmelt of the contrastive loss; 0: left out"})
    siglep_reduction: str = field(
        default="equation",
        metadata={
            "help": "equation: the contrastive loss is the sum over all pairs of ECG and text in a batch of B, divided by B "
            "(equation 4 of the paper); mean: divided by B², so that it weighs 1/B of that beside the other losses (the "
            "authors' release)"
        },
    )
    siglep_chunk: int = field(
        default=0,
        metadata={
            "help": "ECGs of a rank at a time in the contrastive loss: less memory where batches of many ranks make the matrix "
            "of similarities large, which is then computed twice; 0: all at once"
        },
    )
