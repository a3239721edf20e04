"""Masked ECG modelling starts to learn within a few dozen updates, because its decoder finds the neighbours of a token."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

from cmelt_plugin.losses import mem_loss
from cmelt_plugin.models.cmelt.heads import MEMHead
from cmelt_plugin.modules.masking import gather_tokens, mask_tokens

N_TOKENS, SAMPLES, DIM = 48, 6, 32
UPDATES, ROWS = 80, 16


def waves(generator: torch.Generator) -> Tensor:
    """Tokens of slow waves ``[ROWS, N_TOKENS, SAMPLES]`` of random phase and frequency, unit variance."""
    time = torch.arange(N_TOKENS * SAMPLES) / (N_TOKENS * SAMPLES)
    phase, cycles = (torch.rand(ROWS, 1, generator=generator) for _ in range(2))
    return (math.sqrt(2) * torch.sin(2 * math.pi * ((4 + 4 * cycles) * time + phase))).unflatten(1, (N_TOKENS, SAMPLES))


def learnt_error(conv_pos: int) -> float:
    """Mean error of hidden tokens over the last updates; 1 is that of the mean."""
    torch.manual_seed(0)
    embed = nn.Linear(SAMPLES, DIM)
    head = MEMHead(DIM, N_TOKENS, SAMPLES, decoder_dim=DIM, layers=1, heads=4, conv_pos=conv_pos, conv_pos_groups=4)
    optimiser = torch.optim.Adam([*embed.parameters(), *head.parameters()], lr=3e-3)
    generator, errors = torch.Generator().manual_seed(1), []
    for _ in range(UPDATES):
        signal = waves(generator)
        mask = mask_tokens(torch.randint(0, 2**31, (ROWS, N_TOKENS), generator=generator), 0.5)
        states = torch.cat([torch.zeros(ROWS, 1, DIM), gather_tokens(embed(signal), mask.keep_ids)], dim=1)
        loss = mem_loss(head(states, mask), signal, mask.dropped) / mask.dropped.sum()
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        errors.append(loss.item())
    return sum(errors[-10:]) / 10


def test_masked_ecg_modelling_starts_to_learn() -> None:
    assert learnt_error(conv_pos=9) < 0.6


def test_with_absolute_positions_alone_it_does_not() -> None:
    """The release's decoder, for comparison: should this ever fail, the embedding above is not needed any more."""
    assert learnt_error(conv_pos=0) > 0.9
