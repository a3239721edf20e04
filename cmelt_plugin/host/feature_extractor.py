"""The hosts' wav2vec-style convolutional stack for ECGs of several leads."""

from __future__ import annotations

from typing import Any

from torch import Tensor, nn

from cmelt_plugin.host.choosing import IS_SIGNALS, host_module


def ecg_feature_extractor(conv_layers: list[tuple[int, int, int]], n_leads: int) -> nn.Module:
    """The host's wav2vec-style convolutional stack, ``[B, n_leads, T]`` → ``[B, C, N]``, without bias.

    Parameter names are the same on both hosts (``conv_layers.0.0.weight``, ``conv_layers.0.2.weight`` …).
    """
    if IS_SIGNALS:
        extractor = host_module("modules.conv_feature_extraction").ConvFeatureExtraction
        return extractor(conv_layers, in_d=n_leads, dropout=0.0, mode="default", conv_bias=False)
    return _fairseq_feature_extractor(conv_layers, n_leads)


def _fairseq_feature_extractor(conv_layers: list[tuple[int, int, int]], n_leads: int) -> nn.Module:
    base: Any = host_module("models.wav2vec.wav2vec2").ConvFeatureExtractionModel

    class MultiLeadFeatureExtractor(base):  # fairseq's own takes audio, one channel
        def __init__(self) -> None:
            super().__init__(conv_layers, dropout=0.0, mode="default", conv_bias=False)
            channels, kernel, stride = conv_layers[0]
            first = nn.Conv1d(n_leads, channels, kernel, stride=stride, bias=False)
            nn.init.kaiming_normal_(first.weight)
            self.conv_layers[0][0] = first

        def forward(self, x: Tensor) -> Tensor:
            for layer in self.conv_layers:
                x = layer(x)
            return x

    return MultiLeadFeatureExtractor()
