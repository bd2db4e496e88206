"""Lines that start an export elsewhere: SLURM, SkyPilot, dstack, Hugging Face Jobs."""

from __future__ import annotations

import shlex
from collections.abc import Callable, Sequence
from typing import Any, Final

from advisor.catalog.launchers import accelerator_names
from advisor.errors import IllegalRecipe
from advisor.exporters.export_job import ExportedFile, ExportJob


def launch(
    name: str, job: ExportJob, command: str, requirements: Sequence[str], files: Sequence[str]
) -> tuple[ExportedFile | None, str]:
    """The launcher's file, if it has one, and what to type.

    Args:
        command: what runs the export, beside its files.
        requirements: what to install first, as pip takes it.
        files: names of the export's files.

    Raises:
        IllegalRecipe: the launcher has no name for the recipe's GPU, or cannot run this command.
    """
    if job.nodes > 1 or (job.count > 1 and name == "hf-jobs"):
        raise IllegalRecipe(
            f"{name}'s file is written for one {'machine' if job.nodes > 1 else 'GPU'}, and this job has "
            f"{job.nodes if job.nodes > 1 else job.count}",
            hints=["leave --launch out, and start the command on each machine", "several GPUs of one: --launch slurm"],
        )
    if name == "hf-jobs" and tuple(files) != ("train.py",):
        raise IllegalRecipe(
            "hf jobs carries one script, and this export has other files or another program",
            hints=["to export one script: --to script"],
        )
    return LAUNCHERS[name](job, command, requirements)


SEGMENTS: Final = "PYTORCH_CUDA_ALLOC_CONF=expandable_segments:True"
"""What makes CUDA's segments grow; a setting of the process, not of a trainer."""


def _install(requirements: Sequence[str]) -> str:
    return f"pip install {' '.join(shlex.quote(one) for one in requirements)}"


def _slurm(job: ExportJob, command: str, requirements: Sequence[str]) -> tuple[ExportedFile, str]:
    gpu = f"  # a partition with {job.gpu}" if job.gpu else ""
    lines = [
        "#!/usr/bin/env bash",
        "#SBATCH --job-name=advisor",
        "#SBATCH --nodes=1",
        "#SBATCH --ntasks=1",
        f"#SBATCH --gres=gpu:{job.count}{gpu}",
        "#SBATCH --output=%x-%j.log",
        "",
        "set -euo pipefail",
        'cd "$SLURM_SUBMIT_DIR"',
        _install(requirements),
        f"srun {command}",
    ]
    return ExportedFile(name="job.sbatch", text="\n".join(lines) + "\n"), "sbatch job.sbatch"


def _skypilot(job: ExportJob, command: str, requirements: Sequence[str]) -> tuple[ExportedFile, str]:
    document: dict[str, Any] = {
        "name": "advisor",
        "workdir": ".",
        "resources": {"accelerators": f"{_named('skypilot', job)}:{job.count}"},
        "setup": _install(requirements),
        "run": command,
    }
    return ExportedFile(name="sky.yaml", text=_yaml(document)), "sky launch sky.yaml"


def _dstack(job: ExportJob, command: str, requirements: Sequence[str]) -> tuple[ExportedFile, str]:
    name, _, memory = _named("dstack", job).partition(":")
    gpu: dict[str, Any] = {"name": name, "count": job.count}
    document: dict[str, Any] = {
        "type": "task",
        "name": "advisor",
        "python": "3.11",
        "working_dir": "/workflow",
        "files": [".:/workflow"],
        "commands": [_install(requirements), command],
        "resources": {"gpu": {**gpu, "memory": memory} if memory else gpu},
    }
    return ExportedFile(name="advisor.dstack.yml", text=_yaml(document)), "dstack apply -f advisor.dstack.yml"


def _hf_jobs(job: ExportJob, command: str, requirements: Sequence[str]) -> tuple[None, str]:
    more = f" --env {SEGMENTS}" if job.recipe.expandable_segments else ""
    return None, f"hf jobs uv run --flavor {_named('hf-jobs', job)} --secrets HF_TOKEN{more} train.py"


LAUNCHERS: Final[dict[str, Callable[..., tuple[ExportedFile | None, str]]]] = {
    "slurm": _slurm,
    "skypilot": _skypilot,
    "dstack": _dstack,
    "hf-jobs": _hf_jobs,
}


def _named(launcher: str, job: ExportJob) -> str:
    """The launcher's name of the recipe's GPU."""
    known = accelerator_names(launcher)
    if job.gpu not in known:
        asked = job.gpu or "no GPU"
        raise IllegalRecipe(
            f"{launcher}: no name is known for {asked}",
            cause=f"known: {', '.join(known)}",
            hints=["to say another: give the recommendation of that GPU", "any GPU: --launch slurm"],
            gpu=job.gpu,
        )
    return known[job.gpu]


def _yaml(document: dict[str, Any]) -> str:
    import yaml

    return yaml.safe_dump(document, sort_keys=False, allow_unicode=True, width=110)
