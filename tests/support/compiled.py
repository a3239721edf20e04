"""What ``model.compile`` made of a model, without a compiler."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any
from unittest.mock import patch

import torch

from cmelt_plugin.modules import compiling


@contextmanager
def traced_graphs() -> Iterator[list[Any]]:
    """Graphs that were compiled meanwhile, each run as it was traced.

    Tracing is what depends on a model, and takes a second or two; inductor would take more than ten for the code of each.
    """
    graphs: list[Any] = []

    def backend(graph: Any, inputs: Any) -> Any:
        graphs.append(graph)
        return graph.forward

    torch._dynamo.reset()
    with patch.object(compiling, "BACKEND", backend):
        yield graphs
    torch._dynamo.reset()
