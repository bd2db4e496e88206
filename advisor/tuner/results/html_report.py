"""One HTML file of a study that needs no other: tables always, charts where altair and vl-convert are installed."""

# pyright: reportUnknownMemberType=false
# altair's facet and resolve_scale name only some of their types

from __future__ import annotations

import importlib.util
import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

from advisor.domain.plain_values import is_tuple
from advisor.domain.quantity import Quantity
from advisor.domain.tuning import TunedStudy, TunedTrial
from advisor.domain.units import duration, gib
from advisor.store import durable, write_bytes

TEMPLATE = "report.html.j2"
SNIPPET = "window.vegaEmbed = vegaEmbed;"
WIDTH = 640
HEIGHT = 300
BAR = 28
FACET = 300


@dataclass(frozen=True, slots=True)
class Chart:
    """A Vega-Lite chart with its heading and one sentence."""

    title: str
    says: str
    spec: dict[str, Any]


def write_report(study: TunedStudy, path: Path) -> Path:
    """Write the page; values are escaped by jinja2, and charts' data by JSON in which `<` cannot occur."""
    text = page(study).encode()
    durable(path, lambda temporary: write_bytes(temporary, text))
    return path


def page(study: TunedStudy) -> str:
    """The page's text."""
    from jinja2 import Environment, PackageLoader, StrictUndefined, select_autoescape
    from markupsafe import Markup

    drawn = charts(study) if can_draw() else []
    environment = Environment(
        loader=PackageLoader("advisor.tuner.results", ""),
        autoescape=select_autoescape(default=True, default_for_string=True, enabled_extensions=("html", "j2")),
        undefined=StrictUndefined,
    )
    keys = [d.key for d in study.dimensions]
    return environment.get_template(TEMPLATE).render(
        study=study,
        spent=_spent(study),
        charts=drawn,
        charts_json=Markup(_safe_json([c.spec for c in drawn])),
        library=Markup(_library()) if drawn else "",
        keys=keys,
        rows=[_row(study, trial, keys) for trial in study.trials],
    )


def can_draw() -> bool:
    """Whether the `report` extra is installed."""
    return all(importlib.util.find_spec(name) for name in ("altair", "vl_convert"))


def charts(study: TunedStudy) -> list[Chart]:
    """History, learning curves, importances, parallel coordinates, front, predicted against measured; as data allow."""
    made = (_history(study), _curves(study), _importances(study), _parallel(study), _front(study), _predicted(study))
    return [chart for chart in made if chart is not None]


def _history(study: TunedStudy) -> Chart | None:
    import altair as alt

    index = study.objectives.index("quality")
    rows: list[dict[str, Any]] = []
    best: float | None = None
    for trial in study.trials:
        if not trial.values:
            continue
        value = trial.values[index]
        better = best is None or (value > best if study.higher_is_better else value < best)
        best = value if better else best
        rows.append({"trial": trial.number, "score": value, "best": best, "from": trial.origin.partition(":")[0]})
    if not rows:
        return None
    last = rows[-1]["trial"]
    # whole numbers only: a smallest step between ticks is not heeded where charts are laid over each other
    ticks = list(range(0, last + 1, max(1, last // 12)))
    base = alt.Chart(alt.Data(values=rows)).encode(x=alt.X("trial:Q", axis=alt.Axis(values=ticks, format="d")))
    scale = alt.Scale(zero=False)
    dots = base.mark_point(filled=True, size=60).encode(
        y=alt.Y("score:Q", title=study.metric, scale=scale), color="from:N", tooltip=["trial:Q", "score:Q", "from:N"]
    )
    line = base.mark_line(interpolate="step-after", color="#57606a").encode(y=alt.Y("best:Q", scale=scale))
    return _chart("Optimisation history", "Each finished trial, and the best so far.", line + dots)


def _curves(study: TunedStudy) -> Chart | None:
    import altair as alt

    rows = [
        {"trial": str(t.number), "per cent of training": percent, "score": score, "state": t.state}
        for t in study.trials
        for percent, score in t.curve
    ]
    if not rows:
        return None
    chart = (
        alt.Chart(alt.Data(values=rows))
        .mark_line(point=True)
        .encode(
            x=alt.X("per cent of training:Q"),
            y=alt.Y("score:Q", title=study.metric, scale=alt.Scale(zero=False)),
            color=alt.Color("trial:N"),
            strokeDash=alt.StrokeDash("state:N"),
            tooltip=["trial:N", "per cent of training:Q", "score:Q", "state:N"],
        )
    )
    return _chart("Learning curves", "Scores on the way; a line that ends early was pruned.", chart)


def importances(study: TunedStudy) -> dict[str, float]:
    """Share of the score's variation each setting explains (Optuna's evaluator); empty below four finished trials."""
    import optuna

    done = [t for t in study.trials if t.state == "complete" and t.values]
    values = {t.values[study.objectives.index("quality")] for t in done}
    if len(done) < 4 or len(values) < 2:
        return {}
    trials = [
        optuna.trial.create_trial(
            params=dict(t.params),
            distributions={d.key: _distribution(d) for d in study.dimensions if d.key in t.params},
            value=t.values[study.objectives.index("quality")],
        )
        for t in done
    ]
    rebuilt = optuna.create_study(direction="maximize" if study.higher_is_better else "minimize")
    rebuilt.add_trials(trials)
    return dict(optuna.importance.get_param_importances(rebuilt))


def _distribution(d: Any) -> Any:
    from optuna.distributions import CategoricalDistribution, FloatDistribution, IntDistribution

    if d.kind == "choice":
        return CategoricalDistribution([",".join(c) if is_tuple(c) else c for c in d.choices])
    if d.kind == "int":
        return IntDistribution(int(d.low), int(d.high), log=d.log)
    return FloatDistribution(d.low, d.high, log=d.log)


def _importances(study: TunedStudy) -> Chart | None:
    import altair as alt

    found = importances(study)
    if not found:
        return None
    rows = [{"setting": name, "importance": share} for name, share in found.items()]
    chart = (
        alt.Chart(alt.Data(values=rows))
        .mark_bar()
        .encode(x=alt.X("importance:Q"), y=alt.Y("setting:N", sort="-x"), tooltip=["setting:N", "importance:Q"])
    )
    says = "By Optuna's default evaluator; a hint with few trials."
    return Chart("Importance of settings", says, chart.properties(width=WIDTH, height=alt.Step(BAR)).to_dict())


def _parallel(study: TunedStudy) -> Chart | None:
    import altair as alt

    done = [t for t in study.trials if t.values]
    axes = [*study.dimensions]
    if len(done) < 2 or len(axes) < 2:
        return None
    index = study.objectives.index("quality")
    rows = [
        {
            "trial": str(t.number),
            "setting": d.key,
            "at": _place(d, t.params[d.key]),
            "value": str(t.params[d.key]),
            "score": t.values[index],
        }
        for t in done
        for d in axes
        if d.key in t.params
    ]
    order = [d.key for d in axes]
    chart = (
        alt.Chart(alt.Data(values=rows))
        .mark_line(opacity=0.7)
        .encode(
            x=alt.X("setting:N", sort=order, title=None, axis=alt.Axis(labelAngle=-20)),
            y=alt.Y("at:Q", title="low to high within its range", scale=alt.Scale(domain=[0, 1])),
            color=alt.Color("score:Q", title=study.metric, scale=alt.Scale(scheme="viridis")),
            detail="trial:N",
            tooltip=["trial:N", "setting:N", "value:N", "score:Q"],
        )
    )
    return _chart("Parallel coordinates", "One line a trial; logarithmic ranges are drawn so.", chart)


def _place(d: Any, value: Any) -> float:
    """Where a value lies in its dimension, 0 to 1."""
    import math

    if d.kind == "choice":
        levels = [",".join(c) if is_tuple(c) else c for c in d.choices]
        return levels.index(value) / (len(levels) - 1)
    low, high = (math.log(d.low), math.log(d.high)) if d.log else (d.low, d.high)
    return ((math.log(value) if d.log else value) - low) / (high - low)


def _front(study: TunedStudy) -> Chart | None:
    import altair as alt

    done = [t for t in study.trials if t.state == "complete" and t.values and t.seconds]
    if len(done) < 2:
        return None
    index = study.objectives.index("quality")
    rows = [
        {
            "trial": t.number,
            "score": t.values[index],
            "training seconds": t.seconds["train"],
            "peak MiB": t.measured_bytes / 2**20 if t.measured_bytes else None,
            "front": "on the front" if t.number in study.pareto else "beaten",
        }
        for t in done
    ]
    chart = (
        alt.Chart(alt.Data(values=rows))
        .mark_point(filled=True)
        .encode(
            x=alt.X("training seconds:Q", scale=alt.Scale(zero=False)),
            y=alt.Y("score:Q", title=study.metric, scale=alt.Scale(zero=False)),
            size=alt.Size("peak MiB:Q"),
            color="front:N",
            tooltip=["trial:Q", "score:Q", "training seconds:Q", "peak MiB:Q"],
        )
    )
    says = f"Objectives: {', '.join(study.objectives)}. No trial beats one on the front in all of them."
    return _chart("Quality, time and memory", says, chart)


def _predicted(study: TunedStudy) -> Chart | None:
    import altair as alt

    rows = [
        {"trial": t.number, "what": what, "predicted": said.mid / unit, "measured": found / unit}
        for t in study.trials
        for what, said, found, unit in (
            ("memory, MiB", t.predicted_bytes, t.measured_bytes, 2**20),
            ("time, s", t.predicted_seconds, t.measured_seconds, 1),
        )
        if said is not None and found and t.state == "complete"
    ]
    if not rows:
        return None
    base = alt.Chart().properties(width=FACET, height=FACET)
    dots = base.mark_point(filled=True, size=60).encode(
        x=alt.X("measured:Q", scale=alt.Scale(zero=False)),
        y=alt.Y("predicted:Q", scale=alt.Scale(zero=False)),
        tooltip=["trial:Q", "predicted:Q", "measured:Q"],
    )
    right = base.mark_line(color="#57606a", strokeDash=[4, 4]).encode(
        x="measured:Q", y=alt.Y("measured:Q", title="predicted")
    )
    layers = alt.layer(right, dots, data=alt.Data(values=rows))
    chart = cast("alt.FacetChart", layers.facet(column=alt.Column("what:N", title=None)))
    chart = chart.resolve_scale(x="independent", y="independent")
    says = "Said before each trial ran, and what it took; on the dashed line both are the same."
    return Chart("Predicted against measured", says, chart.to_dict())


def _chart(title: str, says: str, chart: Any) -> Chart:
    return Chart(title, says, chart.properties(width=WIDTH, height=HEIGHT).to_dict())


def _library() -> str:
    """Vega, Vega-Lite and vega-embed as one script, from the installed vl-convert: the page asks no network."""
    import altair
    import vl_convert

    version = ".".join(altair.SCHEMA_VERSION.split(".")[:2])
    return vl_convert.javascript_bundle(snippet=SNIPPET, vl_version=version).replace("</script", "<\\/script")


def _safe_json(value: Any) -> str:
    return json.dumps(value).replace("<", "\\u003c").replace("\u2028", "\\u2028").replace("\u2029", "\\u2029")


def _row(study: TunedStudy, trial: TunedTrial, keys: Sequence[str]) -> dict[str, Any]:
    return {
        "number": trial.number,
        "origin": trial.origin,
        "state": trial.state,
        "best": trial.number == study.best,
        "values": _values(study, trial),
        "params": [_cell(trial.params.get(key)) for key in keys],
        "predicted_bytes": _bytes(trial.predicted_bytes),
        "measured_bytes": gib(trial.measured_bytes) if trial.measured_bytes else "",
        "predicted_seconds": duration(trial.predicted_seconds.mid) if trial.predicted_seconds else "",
        "measured_seconds": duration(trial.measured_seconds) if trial.measured_seconds else "",
        "reason": trial.reason,
    }


def _values(study: TunedStudy, trial: TunedTrial) -> list[str]:
    """One an objective, the score with its interval."""
    said = [f"{v:.5g}" for v in trial.values] or ["" for _ in study.objectives]
    span, at = trial.intervals.get(study.metric), study.objectives.index("quality")
    if span and said[at]:
        said[at] += f" ({span[0]:.4g} to {span[1]:.4g})"
    return said


def _bytes(quantity: Quantity | None) -> str:
    return "" if quantity is None else f"{gib(quantity.mid)} ({gib(quantity.low)} to {gib(quantity.high)})"


def _cell(value: Any) -> str:
    return "" if value is None else f"{value:.4g}" if isinstance(value, float) else str(value)


def _spent(study: TunedStudy) -> str:
    money = f", {study.usd:.2f} USD" if study.usd is not None else ""
    return f"{len(study.trials)} trials took {duration(study.seconds)}{money}."
