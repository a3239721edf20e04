"""Operations that MELP's mathematics needs for a batch, counted from the sizes: the numerator of FLOPs utilisation.

Counted are the matrix products and convolutions of what our model computes: texts as long as the longest or, as on a CPU,
linear layers at their real tokens only; what lies below frozen layers in the forward pass alone; attention of a token over all
places, though it looks at those before it. The local loss is left out, less than a thousandth. A multiplication and an addition
are two operations. Convolutions are counted as such, though a CPU computes the long one by way of frequencies.
"""

from __future__ import annotations

import json
from typing import Any, NamedTuple

from benchmarks.harness.operations import convolutions, dense, ecg_encoder, projections, scores


class Operations(NamedTuple):
    """Of a batch.

    Attributes:
        forward: of the forward pass.
        spared: of those that a backward pass with two products for each would need, the ones it does not.
    """

    forward: float
    spared: float


def count(cfg: Any, rows: int, length: int, n_real: int | None = None) -> Operations:
    """Operations of a batch.

    Args:
        cfg: ``MELPConfig`` with the wav2vec tower and a BERT.
        rows: pairs.
        length: tokens of the padded texts, those at their ends among them.
        n_real: real tokens of all texts where linear layers compute these alone; None: they compute padding, too.
    """
    tokens = length if n_real is None else n_real / rows
    sizes = json.loads(cfg.text_encoder_config)
    width, d, e, heard = cfg.encoder_embed_dim, sizes["hidden_size"], cfg.embed_dim, cfg.n_caption_queries
    n_tokens, conv, first = convolutions(cfg)

    ecg = conv + ecg_encoder(cfg, n_tokens, n_tokens)
    pools = _pool(cfg.n_queries, e, n_tokens, width) + 2 * cfg.n_queries * e * e + _pool(heard, d, n_tokens, width)

    read = tokens + 1  # and what sums the text up
    layer = projections(read, read, d) + scores(length + 1, length + 1, d) + dense(read, d, sizes["intermediate_size"])
    n_layers = sizes["num_hidden_layers"]
    frozen = 0 if cfg.text_free_layers < 0 else n_layers - cfg.text_free_layers
    text = n_layers * layer + 2 * (d * cfg.projection_dim + cfg.projection_dim * e)

    asked, places = tokens - 1, length - 1  # the last token is followed by none
    own = projections(asked, asked, d) + scores(places, places, d) + dense(asked, d, 4 * d)
    cross = projections(asked, heard, d) + scores(places, heard, d) + dense(asked, d, 4 * d)
    decoder = cfg.decoder_layers * (own + cross) + 2 * asked * d * sizes["vocab_size"]

    spared = first + frozen * layer  # gradients of frozen weights
    if cfg.text_free_layers >= 0 and not cfg.text_free_embeddings:
        spared += frozen * layer + 2 * read * 3 * d * d  # nor is any gradient asked for below the first free layer
    return Operations(rows * (ecg + pools + text + decoder) + 2 * rows * rows * e, rows * spared)


def training_flops(cfg: Any, rows: int, length: int, n_real: int | None = None) -> float:
    """Forward and backward; arguments as :func:`count`."""
    forward, spared = count(cfg, rows, length, n_real)
    return 3 * forward - spared


def _pool(n_queries: int, dim: int, n_states: int, width: int) -> float:
    """Of an attentional pooler of a record; its queries are projected once a batch."""
    return 2 * n_states * width * 2 * dim + scores(n_queries, n_states, dim) + 2 * n_queries * dim * dim
