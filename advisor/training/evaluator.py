"""Scoring a model on rows so that evaluation cannot run out of memory.

Logits of a causal LM (rows x tokens x vocabulary, in float32 for the loss) are what kills runs at their first
evaluation. Here a batch is as large as its logits fit a quarter of the free memory, nothing of a batch outlives
it, and an out-of-memory error halves the batch down to one row before it counts.
"""

# pyright: reportUnknownMemberType=false
# torch's tolist names no type

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, TypeVar, cast

from advisor.dataset.encoding import EncodedExample, collate, collate_prompts
from advisor.domain.request.vocabulary import Task
from advisor.processes import out_of_memory
from advisor.training.metrics import (
    Metric,
    classification_scores,
    f1_interval,
    generation_scores,
    intervals,
    loss_scores,
)

if TYPE_CHECKING:
    import torch

T = TypeVar("T")
RowScore = tuple[float, float]
"""(sum, count) of one row: a score over rows is the sum of sums over the sum of counts."""

LOGITS_SHARE = 0.25
"""Of free memory, for logits; their float32 copy and the log-softmax make it about three times this."""
MOST_ROWS = 64
MOST_NEW_TOKENS = 256


def _numbers(values: torch.Tensor) -> list[float]:
    return cast("list[float]", values.tolist())


@dataclass(slots=True)
class Scorer:
    """Scores examples with one model. `predict` receives keyword tensors and returns the model's output.

    `vocabulary` is the width of the logits: the vocabulary, or the number of classes.
    """

    model: Any
    tokenizer: Any
    task: Task
    metric: Metric
    device: str
    vocabulary: int
    autocast: Callable[[], Any]
    batch: int = MOST_ROWS
    shrunk: int = 0
    by_row: dict[str, dict[int, RowScore]] = field(default_factory=dict[str, dict[int, RowScore]])
    """Of the last scoring: metric -> place of the row -> what it adds to the score."""
    _said: tuple[list[int], list[int]] = field(default_factory=lambda: (list[int](), list[int]()))
    """(predicted, wanted) classes of the last scoring."""
    _places: dict[int, int] = field(default_factory=dict[int, int])

    def score(self, examples: Sequence[EncodedExample]) -> dict[str, float]:
        """All cheap scores of the task, and the generated ones if the metric needs them; training mode is restored."""
        import torch

        self.by_row, self._said = {}, ([], [])
        self._places = {id(example): place for place, example in enumerate(examples)}
        was_training = self.model.training
        self.model.eval()
        try:
            with torch.no_grad():
                scores = self._losses(examples)
                if self.metric.needs == "generation":
                    scores |= self._generated(examples)
        finally:
            self.model.train(was_training)
        return scores

    def intervals(self) -> dict[str, tuple[float, float]]:
        """The 90 % interval of each score of the last scoring, by its rows drawn again."""
        found = intervals(self.by_row)
        if self.task != "sequence-classification":
            return found
        # no perplexity is told of a choice among classes
        return {name: span for name, span in found.items() if name != "perplexity"} | {"f1": f1_interval(*self._said)}

    def _losses(self, examples: Sequence[EncodedExample]) -> dict[str, float]:
        total, count = 0.0, 0
        predicted: list[int] = []
        wanted: list[int] = []
        for rows in self._batches(examples):
            loss, tokens, classes = self._halving(
                rows, self._forward, lambda a, b: (a[0] + b[0], a[1] + b[1], a[2] + b[2])
            )
            total, count = total + loss, count + tokens
            predicted.extend(classes)
            wanted.extend(row.labels for row in rows if isinstance(row.labels, int))
        scores = loss_scores(total, max(count, 1))
        if self.task == "sequence-classification":
            self._said = predicted, wanted
            return {"loss": scores["loss"]} | classification_scores(predicted, wanted)
        return scores

    def _forward(self, rows: Sequence[EncodedExample]) -> tuple[float, int, list[int]]:
        """Sum of losses, what it is a sum over, and the classes said."""
        from torch.nn.functional import cross_entropy

        batch = {k: v.to(self.device) for k, v in collate(rows, self.tokenizer.pad_token_id).items()}
        labels = batch["labels"] if self.task == "seq2seq" else batch.pop("labels")
        places = [self._places[id(row)] for row in rows]
        with self.autocast():
            logits: torch.Tensor = self.model(**batch).logits
        if self.task == "sequence-classification":
            losses = cross_entropy(logits.float(), labels, reduction="none")
            said = logits.argmax(-1)
            self._keep("loss", places, _numbers(losses), [1] * len(rows))
            self._keep("accuracy", places, _numbers((said == labels).float()), [1] * len(rows))
            return float(losses.sum()), len(rows), cast("list[int]", said.tolist())
        if self.task == "causal-lm" or logits.shape[1] != labels.shape[1]:
            # prompt methods put their virtual tokens before the row's own
            logits, labels = logits[:, -labels.shape[1] :][:, :-1], labels[:, 1:]
        kept = labels != -100
        losses = cross_entropy(logits[kept].float(), labels[kept], reduction="none")
        counts = kept.sum(dim=1)
        of_row = losses.new_zeros(len(rows)).index_add_(0, kept.nonzero()[:, 0], losses)
        self._keep("loss", places, _numbers(of_row), _numbers(counts))
        return float(losses.sum()), int(kept.sum()), []

    def _keep(self, metric: str, places: Sequence[int], sums: Sequence[float], counts: Sequence[float]) -> None:
        kept = self.by_row.setdefault(metric, {})
        kept.update((place, (s, float(c))) for place, s, c in zip(places, sums, counts, strict=True))

    def _generated(self, examples: Sequence[EncodedExample]) -> dict[str, float]:
        lengths = [len(self.tokenizer(e.reference, add_special_tokens=False)["input_ids"]) for e in examples]
        most = max(1, min(MOST_NEW_TOKENS, max(lengths) + 1))
        outputs: list[str] = []
        references: list[str] = []
        for rows in self._batches([e for e in examples if e.prompt]):
            outputs.extend(self._halving(rows, lambda part: self._continue(part, most), lambda a, b: a + b))
            references.extend(row.reference for row in rows)
        asked = [place for place, example in enumerate(examples) if example.prompt]
        by_length = sorted(asked, key=lambda place: len(examples[place].input_ids), reverse=True)
        for place, output, reference in zip(by_length, outputs, references, strict=True):
            for metric, value in generation_scores([output], [reference]).items():
                self._keep(metric, [place], [value], [1])
        return generation_scores(outputs, references)

    def _continue(self, rows: Sequence[EncodedExample], most: int) -> list[str]:
        """Greedy continuations of the prompts, as text."""
        left = self.task == "causal-lm"
        batch = collate_prompts([row.prompt for row in rows], self.tokenizer.pad_token_id, left=left)
        batch = {k: v.to(self.device) for k, v in batch.items()}
        with self.autocast():
            made = self.model.generate(
                **batch,
                max_new_tokens=most,
                do_sample=False,
                use_cache=True,
                pad_token_id=self.tokenizer.pad_token_id,
            )
        new = made[:, batch["input_ids"].shape[1] :] if left else made
        return self.tokenizer.batch_decode(new, skip_special_tokens=True)

    def _batches(self, examples: Sequence[EncodedExample]) -> Iterator[list[EncodedExample]]:
        """Rows of like length together, as many as logits allow."""
        ordered = sorted(examples, key=lambda e: len(e.input_ids), reverse=True)
        at = 0
        while at < len(ordered):
            size = min(self.batch, self._affordable(len(ordered[at].input_ids)))
            yield ordered[at : at + size]
            at += size

    def _affordable(self, length: int) -> int:
        """Rows whose float32 logits fit the share of free memory, at least one."""
        width = 1 if self.task == "sequence-classification" else length
        return max(1, int(LOGITS_SHARE * free_bytes(self.device) / (4 * 3 * width * self.vocabulary)))

    def _halving(
        self, rows: Sequence[EncodedExample], work: Callable[[Sequence[EncodedExample]], T], join: Callable[[T, T], T]
    ) -> T:
        """`work(rows)`, or of both halves where the whole does not fit; one row that does not fit raises."""
        try:
            return work(rows)
        except (MemoryError, RuntimeError) as error:
            if not out_of_memory(error) or len(rows) == 1:
                raise
        empty_cache(self.device)
        half = len(rows) // 2
        self.batch, self.shrunk = half, self.shrunk + 1
        return join(self._halving(rows[:half], work, join), self._halving(rows[half:], work, join))


def free_bytes(device: str) -> int:
    """Memory a new allocation could take: the device's free bytes and the allocator's own reserve."""
    import torch

    if device.startswith("cuda"):
        free, _ = torch.cuda.mem_get_info()
        return free + torch.cuda.memory_reserved() - torch.cuda.memory_allocated()
    import psutil

    return psutil.virtual_memory().available


def empty_cache(device: str) -> None:
    """Give the allocator's unused blocks back before a smaller try."""
    import gc

    import torch

    gc.collect()
    if device.startswith("cuda"):
        torch.cuda.empty_cache()
