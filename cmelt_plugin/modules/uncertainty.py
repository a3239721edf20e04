"""Variances for embeddings that are points, learned beside them: what every contrastive system may be trained with.

``pcmepp``: EchoingECG's head (PCME++, Chun 2024) on the states that a mean is made of. ``prolip``: an uncertainty token
(ProLIP, Chun et al. 2025), one more query that reads what the encoder reads; a linear layer makes log-variances of its state.
Unlike ProLIP's, the token is read by no other one: the encoder, and with it probes, classifiers and means, is the same function
with it and without.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from cmelt_plugin.modules.pooling.gaussian import LogVarianceHead, StateLogVariance

NONE, PCMEPP, PROLIP = "none", "pcmepp", "prolip"
UNCERTAINTIES = (NONE, PCMEPP, PROLIP)
START = 5.0
"""Scale and shift of the match logit at the start (PCME++)."""
FEWEST_HIDDEN, MOST_HIDDEN = 3, 9
"""Leads that a recording loses where it is to lie around itself."""


class UncertaintyHeads(nn.Module):
    """Log-variances of ECGs and of texts, and what their match is measured by.

    Args:
        kind: ``pcmepp`` or ``prolip``.
        dim: D, of the embeddings.
        total: sum of the variances of an embedding at the start.
        ecg_width, text_width: of the states that are read; None: no texts are, and nothing is there for them.
        ecg_token, text_token: width of an uncertainty token, which ``prolip`` has where an encoder takes one; None: none.
        text_sequence: whether the states of a text's tokens can be read; False: one vector sums them up.

    Attributes:
        ecg_token, text_token: learned ``[W]``, or None.
        scale, shift: a and b of the match logit b − a · distance.
    """

    ecg_token: nn.Parameter | None
    text_token: nn.Parameter | None

    def __init__(
        self,
        kind: str,
        dim: int,
        total: float,
        ecg_width: int,
        text_width: int | None = None,
        ecg_token: int | None = None,
        text_token: int | None = None,
        text_sequence: bool = False,
    ):
        super().__init__()
        self.kind = kind
        self.ecg: LogVarianceHead | StateLogVariance
        self.text: LogVarianceHead | StateLogVariance
        pooled = kind == PCMEPP
        self.ecg = LogVarianceHead(ecg_width, dim, total) if pooled else StateLogVariance(ecg_width, dim, total)
        if text_width is not None:
            sequence = pooled and text_sequence
            self.text = LogVarianceHead(text_width, dim, total) if sequence else StateLogVariance(text_width, dim, total)
        for name, width in (("ecg_token", ecg_token), ("text_token", text_token)):
            wanted = kind == PROLIP and width is not None
            self.register_parameter(name, nn.Parameter(torch.randn(width or 0)) if wanted else None)
        self.scale = nn.Parameter(torch.tensor(START))
        self.shift = nn.Parameter(torch.tensor(START))

    def ecg_log_variance(self, states: Tensor, padding_mask: Tensor | None, token_state: Tensor | None) -> Tensor:
        """Log-variances ``[B, D]`` float32 of ECGs.

        Args:
            states: ``[B, N, W]``, which ``pcmepp`` pools.
            padding_mask: ``[B, N]`` bool, True = padding; None: nothing is.
            token_state: ``[B, W]``, of the uncertainty token, which ``prolip`` reads.
        """
        return _log_variance(self.ecg, states, padding_mask, token_state)

    def text_log_variance(self, states: Tensor, padding_mask: Tensor | None, token_state: Tensor | None) -> Tensor:
        """The same of texts, where the states of their tokens can be read."""
        return _log_variance(self.text, states, padding_mask, token_state)


def _log_variance(
    head: LogVarianceHead | StateLogVariance, states: Tensor, padding_mask: Tensor | None, token_state: Tensor | None
) -> Tensor:
    if isinstance(head, LogVarianceHead):
        return head(states, padding_mask)
    assert token_state is not None
    return head(token_state)


def hide_leads(ecg: Tensor) -> Tensor:
    """``ecg [B, leads, T]`` with a quarter to three quarters of each record's leads at zero, drawn at random.

    A record keeps one of the leads that have a signal, whatever is drawn.
    """
    rows, n_leads = ecg.shape[:2]
    fewest, most = n_leads * FEWEST_HIDDEN // 12, n_leads * MOST_HIDDEN // 12
    n_hidden = torch.randint(fewest, most + 1, (rows, 1), device=ecg.device)
    draw = torch.rand(rows, n_leads, device=ecg.device)
    hidden = draw.argsort(dim=1).argsort(dim=1) < n_hidden
    signal = (ecg != 0).any(dim=-1)
    dark = (hidden | ~signal).all(dim=1, keepdim=True)
    last = torch.zeros_like(hidden).scatter_(1, (draw * signal).argmax(dim=1, keepdim=True), True)
    return ecg.masked_fill((hidden & ~(dark & last)).unsqueeze(-1), 0.0)
