"""The supervised contrastive loss, and where a value of it stands; needs torch alone and can be
lifted out.

.. include:: README.md
"""

from quadlib.loss.detail import LossDetail as LossDetail
from quadlib.loss.gradient_cache import embed_in_chunks as embed_in_chunks
from quadlib.loss.memory import CrossBatchMemory as CrossBatchMemory
from quadlib.loss.supcon import SupConLoss as SupConLoss
