"""Step time without a fit: public runs and NeuSight's float32 steps, predicted from the catalogue's constants alone.

    python benchmarks/step_time.py                    public runs, and benchmarks/results/step_time.json
    python benchmarks/step_time.py --neusight FILE    also NeuSight's labels (model, seq_len, batch, device, mode,
                                                      option, measured_ms, neusight_ms, source)

Runs under torch.compile and those whose card their source leaves open are counted apart: what a prediction of the
uncompiled step on the named card says of them is only whether its range holds. NeuSight measures one layer and takes
it times the depth, without head and optimizer, and inference without dropout; the prediction leaves out the same.
"""

from __future__ import annotations

import argparse
import csv
import json
import sys
from collections.abc import Iterable
from pathlib import Path

import numpy as np

from advisor.catalog.models import resolve_model
from advisor.catalog.public_runs import public_runs
from advisor.domain.trace.trace_schema import PHASES
from advisor.estimator.calibration.measured_runs import question
from advisor.estimator.estimate_request import from_case, hardware_of, recipe_of, workload_of
from advisor.estimator.public_audit import PublicFigure, audit_public
from advisor.estimator.step_time.step_simulator import TIME_NAMES, Ops, default_time

OUT = Path(__file__).parent / "results" / "step_time.json"
CARD_UNKNOWN = "whether the card is"
MODELS = {
    "bert_large": "google-bert/bert-large-uncased",
    "gpt2_large": "openai-community/gpt2-large",
    "opt_13": "facebook/opt-1.3b",
}
CARDS = {
    "Tesla_P100-PCIE-16GB": "P100-16GB",
    "Tesla_V100-PCIE-32GB": "V100-PCIE-32GB",
    "NVIDIA_A100-PCIE-40GB": "A100-40GB-PCIE",
}


def summary(figures: Iterable[PublicFigure]) -> dict[str, object]:
    """Errors and coverage of some figures, with their number and sources."""
    figures = list(figures)
    errors = np.abs([f.error for f in figures])
    return {
        "n": len(figures),
        "sources": sorted({f.source for f in figures}),
        "median": float(np.median(errors)),
        "p90": float(np.quantile(errors, 0.9)),
        "worst": float(errors.max()),
        "coverage": sum(f.inside for f in figures) / len(figures),
    }


def public() -> dict[str, object]:
    """Every public run with a step time."""
    compiled = {run.id for s in public_runs() for run in s.runs if run.asked and run.asked.get("torch_compile")}
    figures = [f for f in audit_public().figures if f.target == "step_time"]
    plain = [f for f in figures if f.run not in compiled and CARD_UNKNOWN not in f.why]
    groups = {"all": figures, "uncompiled, card known": plain}
    for by in ("gpu", "method", "source"):
        for name in dict.fromkeys(getattr(f, by) for f in plain):
            groups[f"{by} {name}"] = [f for f in plain if getattr(f, by) == name]
    rows = {f.run: {"measured_s": f.measured, "predicted_s": f.predicted, "error": f.error} for f in figures}
    return {"groups": {name: summary(chosen) for name, chosen in groups.items()}, "rows": rows}


def layers_seconds(ops: Ops, names: list[str], generation: str, rates: object, train: bool, head: bool) -> float:
    """Device seconds of the layers' forward pass, or forward and backward."""
    model = dict(zip(TIME_NAMES, default_time(generation).tolist(), strict=True))
    arithmetic, traffic, start_up = ops.device_seconds(model, rates)  # type: ignore[arg-type]
    busy = (np.maximum(arithmetic, traffic) + start_up).mean(axis=0)
    phases = ["forward", "backward"] if train else ["forward"]
    kept = np.isin(ops.phase, [PHASES.index(name) for name in phases])
    if head:
        products = ops.flop.mean(axis=0) * ops.is_product
        kept &= products < 0.999 * products.max()
    if not train:
        kept &= np.array(["dropout" not in name for name in names])
    return float(busy[kept].sum())


def neusight(path: Path) -> dict[str, object]:
    """NeuSight's labels of models and cards that the catalogue has; the rest are named."""
    rows: list[dict[str, object]] = []
    left: dict[str, int] = {}
    for label in csv.DictReader(path.open()):
        if label["device"] not in CARDS or label["model"] not in MODELS or label["option"]:
            why = " ".join(x for x in (label["model"], label["device"], label["option"]) if x)
            left[why] = left.get(why, 0) + 1
            continue
        request = from_case(
            {
                "model": MODELS[label["model"]],
                "gpu": CARDS[label["device"]],
                "method": "full",
                "dtype": "float32",
                "batch_size": int(label["batch"]),
                "seq_len": int(label["seq_len"]),
                "attn_implementation": "eager",
            }
        )
        spec, recipe, hardware = resolve_model(request.model), recipe_of(request), hardware_of(request)
        asked = question(workload_of(request, spec, recipe)[0], recipe, hardware, spec)
        steady = asked.timeline.op_name[asked.timeline.op_step == 2]
        names = [asked.timeline.names[i] for i in steady]
        train, head = label["mode"] == "train", label["model"] != "bert_large"
        seconds = layers_seconds(asked.ops, names, hardware.gpu.generation, asked.rates, train, head)
        measured = float(label["measured_ms"]) / 1e3
        keys = ("model", "device", "batch", "seq_len", "mode", "source")
        error, theirs = seconds / measured - 1, float(label["neusight_ms"]) / 1e3 / measured - 1
        rows.append({key: label[key] for key in keys} | {"error": error, "neusight_error": theirs})
    ours, theirs = (np.abs([float(str(row[key])) for row in rows]) for key in ("error", "neusight_error"))
    means = {"mean": float(ours.mean()), "worst": float(ours.max()), "neusight_mean": float(theirs.mean())}
    return {"n": len(rows), **means, "rows": rows, "not_priced": left}


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--neusight", type=Path)
    arguments = parser.parse_args()
    result: dict[str, object] = {"public": public()}
    for name, held in result["public"]["groups"].items():  # type: ignore[index]
        print(
            f"{name[:44]:44s} n {held['n']:3d} of {len(held['sources'])} sources  median {held['median']:6.1%}"
            f"  p90 {held['p90']:6.1%}  worst {held['worst']:6.1%}  in 90 % range {held['coverage']:.0%}"
        )
    if arguments.neusight:
        result["neusight"] = told = neusight(arguments.neusight)
        print(
            f"NeuSight's float32 rows: n {told['n']}, mean {told['mean']:.1%}, worst {told['worst']:.1%};"
            f" NeuSight itself on these: mean {told['neusight_mean']:.1%}; not priced: {len(told['not_priced'])} kinds"  # type: ignore[arg-type]
        )
        for row in told["rows"]:  # type: ignore[union-attr]
            print(f"  {row['model']:11s} {row['device']:24s} b{row['batch']:3s} {row['mode']:6s} {row['error']:+.1%}")
    OUT.parent.mkdir(exist_ok=True)
    OUT.write_text(json.dumps(result, indent=1) + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
