"""Every test has its own store and no network; torch, where it is used, one thread."""

from __future__ import annotations

import gc
import os
import signal
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings

os.environ["HF_HUB_OFFLINE"] = "1"
os.environ["COLUMNS"] = "140"
os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
# the same examples each time: a run that fails, fails again. HYPOTHESIS_PROFILE=default draws new ones
# drawing is slow on a busy machine, which says nothing of a test
settings.register_profile("repeatable", derandomize=True, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", "repeatable"))
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    # a shell starts its background jobs deaf to Ctrl-C, and processes hand that on: tests of Ctrl-C would wait for ever
    signal.signal(signal.SIGINT, signal.default_int_handler)


def pytest_collection_finish() -> None:
    """Collected tests live to the end: without this, each collection of garbage walks through all of them (0.5 s)."""
    gc.collect()
    gc.freeze()


@pytest.fixture(autouse=True, scope="session")
def _own_home(tmp_path_factory: pytest.TempPathFactory) -> None:
    home: Path = tmp_path_factory.mktemp("advisor-home")
    os.environ["ADVISOR_HOME"] = str(home)
