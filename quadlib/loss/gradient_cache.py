"""Large contrastive batches on a small device: embed in chunks, one loss over all of them, the
gradient of the whole batch.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any, cast

import torch
from torch import Tensor
from torch.utils.checkpoint import checkpoint


def embed_in_chunks(encode: Callable[[Any], Any], chunks: Iterable[Any]) -> Any:
    """The embeddings of all chunks, one after the other, whose gradient is that of embedding them
    at once, while the activations of one chunk at most are kept.

    encode: maps a chunk to a tensor (n, ...) or a tuple of them (a NamedTuple stays one). chunks:
    tensors, for example inputs.split(64), or dicts, lists and tuples of them; they need not be of
    equal size. Each chunk is embedded again when the gradient reaches it, with the random state
    that the devices of its tensors had before, so that dropout repeats (Gao et al. 2021, arXiv
    2101.06983). A layer that mixes rows, such as batch normalisation, sees a chunk, not the batch.
    Raises ValueError when there is no chunk.
    """
    parts = [
        checkpoint(encode, chunk, use_reentrant=False) if torch.is_grad_enabled() else encode(chunk)
        for chunk in chunks
    ]
    if not parts:
        raise ValueError(
            "there are no chunks to embed; pass at least one, for example inputs.split(64)"
        )
    if isinstance(parts[0], Tensor):
        return torch.cat(cast(list[Tensor], parts))
    columns = [torch.cat(column) for column in zip(*parts, strict=True)]
    return parts[0]._make(columns) if hasattr(parts[0], "_make") else tuple(columns)
