"""Puts a toy in the place of training, so that faults of processes can be tried in seconds and without torch.

Only what happens inside a training is replaced: its process, files, progress, signals, checkpoints and result
are the real ones. `TOY_STEPS` and `TOY_SECONDS` say how long a toy training takes, `TOY_FAULT` what goes wrong,
`TOY_GRACE` after how many seconds without a beat a worker is dead.
"""

import os
import sys
import types


def install() -> None:
    training = types.ModuleType("advisor.training.train")
    training.train = train
    training.versions = dict
    training.cpu_name = lambda: "toy"
    training.device_name = lambda device: "toy"
    finish = types.ModuleType("advisor.training.export")
    finish.finish = finished
    estimate = types.ModuleType("advisor.estimator.estimate")
    estimate.price = estimate.trace_of = estimate.timeline_of = unknown
    for module in (training, finish, estimate):
        sys.modules[module.__name__] = module
    if "TOY_GRACE" in os.environ:
        from advisor.tuner.storage import connect as storage

        storage.GRACE_SECONDS = int(os.environ["TOY_GRACE"])
        storage.HEARTBEAT_SECONDS = storage.GRACE_SECONDS / 6


def unknown(*args, **kwargs):
    from advisor.errors import UnsupportedModel

    raise UnsupportedModel("a toy has no cost model")


def objective(job) -> float:
    """Best at a learning rate of 1e-3: a parabola in its logarithm, a little higher with other seeds."""
    import math

    return 1.0 - 0.1 * (math.log10(job.recipe.learning_rate) + 3) ** 2 + 1e-3 * (job.seed % 7)


def train(job, began):
    import time
    from pathlib import Path

    from advisor.store import durable
    from advisor.training.checkpoints import commit, newest
    from advisor.training.monitor import TrainingMonitor
    from advisor.training.training_spec import TrainingResult

    folder = Path(job.folder)
    steps, pause = int(os.environ.get("TOY_STEPS", "4")), float(os.environ.get("TOY_SECONDS", "0"))
    with open(folder.parent / "started.txt", "a") as log:
        log.write(f"{job.number} {job.recipe.learning_rate}\n")
    at = [0]
    monitor = TrainingMonitor(
        folder=folder,
        steps=steps,
        evaluations=4,
        metric=job.metric,
        higher_is_better=True,
        score=lambda: {job.metric: objective(job) * at[0] / steps, "loss": 1.0},
        save_weights=lambda path: durable(path, lambda p: p.write_text("weights")),
        synchronise=lambda: None,
        checkpoint_seconds=0,
    )
    found = newest(folder / "checkpoints")
    if found:
        monitor.restore(found[1])
    first = monitor.done
    monitor.begin()
    for step in range(first + 1, steps + 1):
        at[0] = step
        time.sleep(pause)
        fault(step, folder)
        say = monitor.after_step(step, 0.5)
        if say.checkpoint:
            place = folder / "checkpoints" / f"checkpoint-{step}"
            place.mkdir(parents=True, exist_ok=True)
            (place / "state.txt").write_text(str(step))
            commit(place, monitor.state())
        if say.stop:
            break
    status = {"interrupted": "interrupted", "pruned": "pruned"}.get(monitor.stopped, "complete")
    return TrainingResult(
        status=status,
        reason=monitor.stopped,
        score=monitor.best,
        metrics=monitor.best_metrics,
        curve=tuple(monitor.curve),
        steps=monitor.done,
        resumed_from=first,
        seconds={"load": 0.1, "train": 1.0, "evaluate": 0.1, "save": 0.1, "total": 1.3},
        peak_process_bytes=10**6,
        step_seconds=(0.1,),
        weights="weights.safetensors",
    )


def fault(step: int, folder) -> None:
    kind = os.environ.get("TOY_FAULT", "")
    if kind == "exit" and step == 2:
        os._exit(7)
    if kind == "memory" and step == 2:
        hog = bytearray(400 * 2**20)
        for i in range(0, len(hog), 4096):
            hog[i] = 1
        import time

        time.sleep(5)
    if kind == "oom" and step == 2:
        raise MemoryError("no room for 1 TiB")
    if kind == "bug" and step == 2:
        raise ZeroDivisionError("a bug in a training")


def finished(job):
    from pathlib import Path

    from advisor.training.training_spec import TrainingResult

    Path(job.export).mkdir(parents=True, exist_ok=True)
    (Path(job.export) / "adapter_model.safetensors").write_text(Path(job.weights).read_text())
    scores = {job.metric: objective(job)}
    return TrainingResult(status="complete", score=scores[job.metric], test=scores, adapter=job.export)


if any(wing in " ".join(sys.orig_argv) for wing in ("advisor.tuner", "advisor.training")):
    install()
