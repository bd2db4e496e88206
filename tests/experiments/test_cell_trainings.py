"""The training of one cell of a grid: its seed, batch and rows are the cell's."""

from __future__ import annotations

from pathlib import Path

import pytest

from advisor.experiments.cell_trainings import CellTrainings
from advisor.experiments.plan import ExperimentPlan, TrainingCell
from tests.tuner.studies import toy_request


@pytest.fixture
def trainings(tmp_path: Path) -> CellTrainings:
    plan = ExperimentPlan(
        id="toy", model="toy", data="rows", methods=("lora",), sizes=(10, 40), seeds=3, steps=10, seed=100,
        effective_batch_size=16,
    )  # fmt: skip
    made = CellTrainings(plan=plan, folder=tmp_path, device="cpu", threads=1)
    made.request, made.rows = toy_request()
    return made


def cell(size: int = 40, seed: int = 0, rate: float = 1e-3) -> TrainingCell:
    return TrainingCell(method="lora", size=size, seed=seed, rate=rate)


def test_each_seed_of_a_cell_trains_with_a_seed_and_in_a_folder_of_its_own(trainings: CellTrainings):
    jobs = [trainings.job(cell(seed=seed)) for seed in range(3)]
    assert [job.seed for job in jobs] == [100, 101, 102]
    assert len({job.folder for job in jobs}) == 3
    assert len({job.data for job in jobs}) == 3, "each draws its rows"


@pytest.mark.parametrize(("size", "batch"), [(10, 10), (40, 16)])
def test_batch_epochs_and_rate_are_those_of_the_cell(trainings: CellTrainings, size: int, batch: int):
    job = trainings.job(cell(size=size, rate=2e-3))
    assert job.recipe.micro_batch_size * job.recipe.gradient_accumulation == batch
    assert job.workload.effective_batch_size == batch
    assert (job.workload.samples, job.splits.rows["train"]) == (size, size)
    assert job.workload.optimizer_steps() == trainings.plan.steps
    assert (job.recipe.learning_rate, job.recipe.head_learning_rate) == (2e-3, None)
