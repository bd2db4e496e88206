"""The accelerators: one JSON file each, figures with their sources; `gpus()` lists them, `find_gpu()` names one."""

from advisor.catalog.gpus.gpu_lookup import find_gpu as find_gpu
from advisor.catalog.gpus.gpu_lookup import gpus as gpus
from advisor.catalog.gpus.gpu_lookup import listing as listing
from advisor.catalog.gpus.gpu_lookup import unified_chips as unified_chips
