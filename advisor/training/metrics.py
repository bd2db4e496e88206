"""Scores people use, from predictions and references, and how sure they are; pure functions, no model.

Scores are fractions (0..1) except `loss` (nats a token, or a row of a classification) and `perplexity`.
"""

# pyright: reportUnknownMemberType=false
# scikit-learn has no types

from __future__ import annotations

import math
import re
import string
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final, Literal

from advisor.domain.request.vocabulary import Task
from advisor.errors import BadRequest, UnknownName

Needs = Literal["labels", "loss", "generation"]


@dataclass(frozen=True, slots=True)
class Metric:
    """One score: which way is better, for which tasks, and what must be computed for it."""

    name: str
    higher_is_better: bool
    tasks: frozenset[Task]
    needs: Needs
    says: str


_CLASSES: Final = frozenset[Task]({"sequence-classification"})
_TEXT: Final = frozenset[Task]({"causal-lm", "seq2seq"})
_ALL: Final = _CLASSES | _TEXT

METRICS: Final[tuple[Metric, ...]] = (
    Metric("accuracy", True, _CLASSES, "labels", "share of rows whose class is right"),
    Metric("f1", True, _CLASSES, "labels", "F1, macro average over the classes"),
    Metric("loss", False, _ALL, "loss", "mean cross-entropy: nats a trained token, or a row"),
    Metric("perplexity", False, _TEXT, "loss", "exp of the loss"),
    Metric("exact_match", True, _TEXT, "generation", "share of outputs equal to the reference, blanks and case apart"),
    Metric("rouge1", True, _TEXT, "generation", "ROUGE-1 F-measure"),
    Metric("rouge2", True, _TEXT, "generation", "ROUGE-2 F-measure"),
    Metric("rougeL", True, _TEXT, "generation", "ROUGE-L F-measure"),
)

DEFAULT_METRIC: Final[dict[Task, str]] = {
    "sequence-classification": "accuracy",
    "causal-lm": "loss",
    "seq2seq": "loss",
}


def find_metric(name: str | None, task: Task) -> Metric:
    """The metric of a name, or the task's default.

    Raises:
        UnknownName: no such metric.
        BadRequest: it says nothing about this task.
    """
    wanted = name or DEFAULT_METRIC[task]
    for metric in METRICS:
        if metric.name.lower() == wanted.lower():
            if task not in metric.tasks:
                fit = ", ".join(m.name for m in METRICS if task in m.tasks)
                raise BadRequest(f"{metric.name} does not score {task}", hints=[f"one of: {fit}"], metric=metric.name)
            return metric
    raise UnknownName.of("metric", wanted, [m.name for m in METRICS], list_with="advisor tune --help")


def classification_scores(predicted: Sequence[int], wanted: Sequence[int]) -> dict[str, float]:
    """Accuracy and macro F1. Classes that occur in neither list do not enter the average.

    Raises:
        ValueError: the lists are empty or of different lengths.
    """
    if not wanted or len(predicted) != len(wanted):
        raise ValueError(f"{len(predicted)} predictions for {len(wanted)} rows")
    # imported here, so that naming a metric stays fast
    from sklearn import metrics

    zero: Any = 0.0  # the stub knows words alone
    macro: float = metrics.f1_score(list(wanted), list(predicted), average="macro", zero_division=zero)
    return {"accuracy": float(metrics.accuracy_score(list(wanted), list(predicted))), "f1": float(macro)}


def loss_scores(total: float, count: int) -> dict[str, float]:
    """Mean loss and its exponential; a perplexity beyond a double's range is left out, not made infinite."""
    mean = total / count
    scores = {"loss": mean}
    if mean < 700:
        scores["perplexity"] = math.exp(mean)
    return scores


def generation_scores(outputs: Sequence[str], references: Sequence[str]) -> dict[str, float]:
    """Exact match and ROUGE-1/2/L, each the mean over rows.

    Raises:
        ValueError: the lists are empty or of different lengths.
    """
    if not references or len(outputs) != len(references):
        raise ValueError(f"{len(outputs)} outputs for {len(references)} references")
    sums = {"exact_match": 0.0, "rouge1": 0.0, "rouge2": 0.0, "rougeL": 0.0}
    for output, reference in zip(outputs, references, strict=True):
        said, true = words(output), words(reference)
        sums["exact_match"] += float(_squeezed(output) == _squeezed(reference))
        sums["rouge1"] += rouge_n(said, true, 1)
        sums["rouge2"] += rouge_n(said, true, 2)
        sums["rougeL"] += rouge_l(said, true)
    return {name: value / len(references) for name, value in sums.items()}


def words(text: str) -> list[str]:
    """Lower-case runs of letters and digits of any script, without stemming."""
    return re.findall(r"[^\W_]+", text.lower())


def rouge_n(said: Sequence[str], true: Sequence[str], n: int) -> float:
    """F-measure of shared n-grams, counted with multiplicity; 0 where either side has none.

    Source:
        Lin 2004, "ROUGE: A Package for Automatic Evaluation of Summaries", section 2.
    """
    ours = Counter(tuple(said[i : i + n]) for i in range(len(said) - n + 1))
    theirs = Counter(tuple(true[i : i + n]) for i in range(len(true) - n + 1))
    return _f_measure((ours & theirs).total(), ours.total(), theirs.total())


def rouge_l(said: Sequence[str], true: Sequence[str]) -> float:
    """F-measure of the longest common subsequence (Lin 2004, section 3), precision and recall weighed alike."""
    row = [0] * (len(true) + 1)
    for word in said:
        diagonal = 0
        for j, other in enumerate(true, start=1):
            above = row[j]
            row[j] = diagonal + 1 if word == other else max(above, row[j - 1])
            diagonal = above
    return _f_measure(row[-1], len(said), len(true))


def _f_measure(shared: int, said: int, true: int) -> float:
    return 2 * shared / (said + true) if said and true else 0.0


def _squeezed(text: str) -> str:
    return " ".join(text.lower().translate(str.maketrans("", "", string.punctuation)).split())


RowScores = Sequence[tuple[float, float]]
"""(sum, count) of each row, in the rows' order; the score is the sum of sums over the sum of counts."""

DRAWS: Final = 1000
TAIL: Final = 0.05
"""Below and above a 90 % interval."""


def interval(rows: RowScores, *, seed: int = 0) -> tuple[float, float]:
    """The 90 % interval of a score over rows drawn again with replacement (Efron 1979's percentile bootstrap)."""
    import numpy as np

    draw, values = np.random.default_rng(seed), np.asarray(rows, dtype=float)
    sums = np.stack([values[draw.integers(0, len(values), len(values))].sum(axis=0) for _ in range(DRAWS)])
    low, high = np.quantile(sums[:, 0] / np.maximum(sums[:, 1], 1e-12), [TAIL, 1 - TAIL])
    return float(low), float(high)


def intervals(by_row: Mapping[str, Mapping[int, tuple[float, float]]]) -> dict[str, tuple[float, float]]:
    """The interval of each score whose rows are known; perplexity follows from the loss."""
    found = {metric: interval([rows[i] for i in sorted(rows)]) for metric, rows in by_row.items() if rows}
    if "loss" in found and found["loss"][1] < 700:
        found["perplexity"] = (math.exp(found["loss"][0]), math.exp(found["loss"][1]))
    return found


def f1_interval(predicted: Sequence[int], wanted: Sequence[int], *, seed: int = 0) -> tuple[float, float]:
    """The 90 % interval of macro F1 over rows drawn again.

    Rows of one class with one prediction are alike, so what is drawn is how many there are of each such pair.
    """
    import numpy as np

    pairs = Counter(zip(wanted, predicted, strict=True))
    counts = np.array(list(pairs.values()))
    drawn = np.random.default_rng(seed).multinomial(len(wanted), counts / counts.sum(), DRAWS)  # [draws, pairs]
    total, classes = np.zeros(DRAWS), np.zeros(DRAWS)
    for label in sorted({label for pair in pairs for label in pair}):
        true, said = (np.array([pair[side] == label for pair in pairs]) for side in (0, 1))
        there = drawn @ said + drawn @ true
        total += 2 * (drawn @ (said & true)) / np.maximum(there, 1)
        classes += there > 0
    low, high = np.quantile(total / classes, [TAIL, 1 - TAIL])
    return float(low), float(high)


def interval_of_mean(runs: Sequence[RowScores], *, metric: str, seed: int = 0) -> tuple[float, float]:
    """The 90 % interval of the mean score of several seeds, when rows and seeds are drawn again.

    Args:
        runs: of each seed, the rows in one order; those of a perplexity are the rows of its loss.
    """
    import numpy as np

    draw, values = np.random.default_rng(seed), np.asarray(runs, dtype=float)  # [seeds, rows, 2]
    seeds, count = values.shape[:2]
    means: list[float] = []
    for _ in range(DRAWS):
        sums = values[draw.integers(0, seeds, seeds)][:, draw.integers(0, count, count)].sum(axis=1)
        scores = sums[:, 0] / np.maximum(sums[:, 1], 1e-12)
        means.append(float((np.exp(np.minimum(scores, 700)) if metric == "perplexity" else scores).mean()))
    low, high = np.quantile(means, [TAIL, 1 - TAIL])
    return float(low), float(high)


def chances_of_best(runs: Sequence[Sequence[RowScores]], *, higher: bool, seed: int = 0) -> list[float]:
    """How often each candidate has the best mean over seeds when rows and seeds are drawn again.

    The same rows are drawn for all, since all were scored on the same: what they find hard alike does not blur who
    is better. Ties are shared.

    Args:
        runs: of each candidate, each seed's rows; every list has the same rows in the same order.
    """
    import numpy as np

    draw, sign = np.random.default_rng(seed), 1.0 if higher else -1.0
    values = [np.asarray(seeds, dtype=float) for seeds in runs]  # [seeds, rows, 2]
    count = int(values[0].shape[1])
    wins = np.zeros(len(runs))
    for _ in range(DRAWS):
        places = draw.integers(0, count, count)
        sums = [v[draw.integers(0, len(v), len(v))][:, places].sum(axis=1) for v in values]
        means = np.array([sign * (s[:, 0] / np.maximum(s[:, 1], 1e-12)).mean() for s in sums])
        top = np.isclose(means, means.max(), rtol=0, atol=1e-12)
        wins += top / top.sum()
    return [float(w) / DRAWS for w in wins]
