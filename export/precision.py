"""In which precision networks are trained: where a processor computes in bfloat16, that is twice as fast."""

from __future__ import annotations

import torch


def autocast() -> torch.autocast:
    """A context in which torch computes in bfloat16, if the processor does; where it does not, that is slow."""
    return torch.autocast("cpu", torch.bfloat16, enabled=bool(torch.ops.mkldnn._is_mkldnn_bf16_supported()))
