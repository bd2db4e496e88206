"""The accelerators: one JSON file each, figures with their sources; `gpus()` lists them, `find_gpu()` names one."""

from advisor.catalog.gpus.capabilities import check_attention as check_attention
from advisor.catalog.gpus.capabilities import half_precision as half_precision
from advisor.catalog.gpus.described_card import described_gpu as described_gpu
from advisor.catalog.gpus.gpu_lookup import find_gpu as find_gpu
from advisor.catalog.gpus.gpu_lookup import gpus as gpus
from advisor.catalog.gpus.gpu_lookup import listing as listing
from advisor.catalog.gpus.gpu_lookup import reported_gpu as reported_gpu
from advisor.catalog.gpus.gpu_lookup import unified_chips as unified_chips
