"""``cmelt``: the weighted sum of the four losses (paper §3, "jointly optimizing four loss functions")."""

from cmelt_plugin import host
from cmelt_plugin.criterions.base import PretrainingCriterion
from cmelt_plugin.criterions.config import CriterionConfig
from cmelt_plugin.criterions.etm import etm_part
from cmelt_plugin.criterions.mem import mem_part
from cmelt_plugin.criterions.mlm import mlm_part
from cmelt_plugin.criterions.siglep import siglep_options, siglep_part


@host.register_criterion("cmelt", dataclass=CriterionConfig)
class CompositeCriterion(PretrainingCriterion):
    """MLM + MEM + ETM + Siglep."""

    def parts(self):
        cfg = self.cfg
        return {
            "mlm": (cfg.mlm_weight, mlm_part),
            "mem": (cfg.mem_weight, lambda batch: mem_part(batch, cfg.mem_target)),
            "etm": (cfg.etm_weight, etm_part),
            "siglep": (cfg.siglep_weight, lambda batch: siglep_part(batch, *siglep_options(cfg))),
        }
