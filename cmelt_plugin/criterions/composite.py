"""``cmelt``: the weighted sum of the four losses (paper §3, "jointly optimizing four loss functions")."""

from dataclasses import dataclass, field

from cmelt_plugin import host
from cmelt_plugin.criterions.base import PretrainingCriterion
from cmelt_plugin.criterions.etm import etm_part
from cmelt_plugin.criterions.mem import MEMConfig, mem_part
from cmelt_plugin.criterions.mlm import mlm_part
from cmelt_plugin.criterions.siglep import SiglepConfig, siglep_part


@dataclass
class CompositeConfig(MEMConfig, SiglepConfig):
    mlm_weight: float = field(default=1.0, metadata={"help": "weight of masked language modelling; 0 leaves it out"})
    mem_weight: float = field(default=1.0, metadata={"help": "weight of masked ECG modelling; 0 leaves it out"})
    etm_weight: float = field(default=1.0, metadata={"help": "weight of ECG–text matching; 0 leaves it out"})
    siglep_weight: float = field(default=1.0, metadata={"help": "weight of the contrastive loss; 0 leaves it out"})


@host.register_criterion("cmelt", dataclass=CompositeConfig)
class CompositeCriterion(PretrainingCriterion):
    """MLM + MEM + ETM + Siglep."""

    def parts(self):
        cfg = self.cfg
        return {
            "mlm": (cfg.mlm_weight, mlm_part),
            "mem": (cfg.mem_weight, lambda batch: mem_part(batch, cfg.mem_target)),
            "etm": (cfg.etm_weight, etm_part),
            "siglep": (cfg.siglep_weight, lambda batch: siglep_part(batch, cfg.duplicates)),
        }
