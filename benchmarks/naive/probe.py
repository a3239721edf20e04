"""A linear probe trained alone, row by row through a data loader, its validation AUC by scikit-learn after every epoch."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from sklearn.metrics import roc_auc_score


class Rows(torch.utils.data.Dataset):
    """Features and labels of single records."""

    def __init__(self, features: np.ndarray, labels: np.ndarray) -> None:
        self.features, self.labels = features, labels

    def __len__(self) -> int:
        return len(self.features)

    def __getitem__(self, row: int) -> tuple[torch.Tensor, torch.Tensor]:
        return torch.from_numpy(self.features[row]), torch.from_numpy(self.labels[row])


def train(
    features: np.ndarray,
    labels: np.ndarray,
    epochs: Sequence[Sequence[np.ndarray]],
    weight0: np.ndarray,
    bias0: np.ndarray,
    valid: tuple[np.ndarray, np.ndarray],
) -> tuple[np.ndarray, np.ndarray, list[float]]:
    """Weight ``[C, D]``, bias ``[C]`` after the last epoch, and macro AUC on ``valid`` after each.

    Args:
        features: float32 ``[N, D]``.
        labels: float32 ``[N, C]``, 0/1.
        epochs: per epoch its batches of row numbers.
        weight0, bias0: initial weights.
        valid: features and labels.
    """
    layer = torch.nn.Linear(features.shape[1], labels.shape[1])
    with torch.no_grad():
        layer.weight.copy_(torch.from_numpy(weight0))
        layer.bias.copy_(torch.from_numpy(bias0))
    optimiser = torch.optim.Adam(layer.parameters(), lr=1e-3)
    criterion = torch.nn.BCEWithLogitsLoss()
    aucs = []
    for batches in epochs:
        sampler = [batch.tolist() for batch in batches]
        for x, y in torch.utils.data.DataLoader(Rows(features, labels), batch_sampler=sampler):
            optimiser.zero_grad()
            criterion(layer(x), y).backward()
            optimiser.step()
        with torch.no_grad():
            aucs.append(float(roc_auc_score(valid[1], layer(torch.from_numpy(valid[0])).numpy(), average="macro")))
    return layer.weight.detach().numpy(), layer.bias.detach().numpy(), aucs
