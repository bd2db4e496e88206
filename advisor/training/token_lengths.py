"""The rows as the model will see them: their lengths in its tokens, what is cut, what its tokenizer knows of them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from advisor.catalog.models.context_length import check_lengths
from advisor.dataset.encoding import CUT_RULE, EncodedExample, Encoder
from advisor.dataset.splits import Row, Splits
from advisor.domain.model import ModelSpec
from advisor.domain.request.vocabulary import Task
from advisor.domain.workload import DEFAULT_SEQ_LEN, Workload
from advisor.errors import BadRequest, UnsupportedModel
from advisor.loading import load_tokenizer
from advisor.training.prepare import weights_folder

CUT_NOTE: Final = "rows longer than"
"""How the note begins that tells of rows cut; a study says it once."""
MUCH_UNKNOWN: Final = 0.1
"""Share of tokens unknown to the tokenizer from which it is said: texts of its own language have next to none."""


@dataclass(frozen=True, slots=True)
class Measured:
    """Tokens a row takes, by split, and of an encoder-decoder's target; `unknown` is a share of the training text."""

    inputs: Mapping[str, Sequence[int]]
    targets: Mapping[str, Sequence[int]]
    unknown: float

    def longest(self) -> int:
        return max(self.inputs["train"])

    def mean(self) -> float:
        return sum(self.inputs["train"]) / len(self.inputs["train"])

    def cut(self, limit: int, target: int | None) -> dict[str, int]:
        """Rows beyond the limits, by split."""
        return {
            name: sum(
                size > limit or (target is not None and self.targets[name][i] > target) for i, size in enumerate(sizes)
            )
            for name, sizes in self.inputs.items()
        }


def lengths_of(
    spec: ModelSpec, task: Task, splits: Splits, rows: Mapping[str, Sequence[Row]], seq_len: int | None
) -> tuple[dict[str, Any], list[str]]:
    """A workload's fields of length, and what is to be said of them.

    `seq_len` is the limit asked for; without one it is DEFAULT_SEQ_LEN, and never beyond the model's context.

    Raises:
        BadRequest: a limit beyond the context; no training row leaves a token to learn.
        UnsupportedModel: the model's tokenizer knows no word of the rows.
    """
    check_lengths(spec, seq_len=seq_len)
    found = measure(spec, task, splits, rows)
    most = min(spec.context_length or DEFAULT_SEQ_LEN, seq_len or DEFAULT_SEQ_LEN)
    longest = min(found.longest(), most)
    targets = found.targets.get("train")
    target = min(max(targets), most) if targets else None
    notes: list[str] = []
    cut = found.cut(longest, target)
    if any(cut.values()):
        share = ", ".join(f"{count} of {splits.rows[name]} {name}" for name, count in cut.items() if count)
        rule = CUT_RULE["pairs" if targets else splits.kind]
        notes.append(f"{CUT_NOTE} {longest} tokens are cut: {share}; {rule}")
    if found.unknown > MUCH_UNKNOWN:
        notes.append(f"{found.unknown:.0%} of the training tokens are unknown to the model's tokenizer")
    return {
        "seq_len": longest,
        "mean_seq_len": min(found.mean(), longest),
        "target_len": target,
        "lengths": f"measured on {len(found.inputs['train'])} rows with the model's tokenizer",
    }, notes


def measure(spec: ModelSpec, task: Task, splits: Splits, rows: Mapping[str, Sequence[Row]]) -> Measured:
    """Every row whole, whatever the model would take."""
    tokenizer = load_tokenizer(weights_folder(spec))
    tokenizer.model_max_length = 10**9
    pairs = spec.architecture == "encoder-decoder" and task == "seq2seq"
    far = Workload.model_validate({"model": spec.name, "task": task, "seq_len": 10**7, "target_len": 10**7})
    encoder = Encoder(tokenizer, far, splits.kind, splits.labels, pairs=pairs)
    inputs: dict[str, list[int]] = {}
    targets: dict[str, list[int]] = {}
    unknown = 0.0
    for name, part in rows.items():
        examples = encoder.encode(part)
        inputs[name] = [len(e.input_ids) for e in examples]
        if pairs:
            targets[name] = [len(e.labels) for e in examples if not isinstance(e.labels, int)]
        if name == "train":
            if not examples:
                raise BadRequest("no training row leaves a token to learn")
            unknown = _unknown(tokenizer, examples, spec)
    return Measured(inputs, targets, unknown)


def _unknown(tokenizer: Any, examples: Sequence[EncodedExample], spec: ModelSpec) -> float:
    """Share of the text's tokens that stand for anything the tokenizer does not know."""
    if tokenizer.unk_token_id is None:
        return 0.0
    special = set(tokenizer.all_special_ids) - {tokenizer.unk_token_id}
    words = [i for example in examples for i in example.input_ids if i not in special]
    share = sum(i == tokenizer.unk_token_id for i in words) / max(1, len(words))
    if words and share == 1.0:
        raise UnsupportedModel(
            f"the tokenizer in {spec.weights} knows no word of the rows",
            cause="each of their tokens is its unknown one, as where the tokenizer's own files are missing",
            hints=["copy the model's tokenizer files into its folder, or name its Hub id"],
            model=spec.name,
        )
    return share
