"""How long a data file's examples are in tokens: measured with the tokenizer at hand, else estimated and said so."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
from pydantic import Field

from advisor.catalog.models import tokenizer_folder
from advisor.dataset.encoding import Encoder
from advisor.dataset.rows import Rows, Sized
from advisor.dataset.splits import row_of
from advisor.domain.model import ModelSpec
from advisor.domain.stored import Value
from advisor.domain.workload import Workload
from advisor.errors import BadRequest, UnsupportedModel
from advisor.loading import load_tokenizer, needs_foreign_code

ASCII_A_TOKEN = 4.0
"""Characters a token in English: 3.6 to 4.5 on average with all-MiniLM-L6-v2's tokenizer on three sets of Debian
descriptions and e-mails, and one text in twenty below 2.3 to 3.6."""
SAFE_ASCII_A_TOKEN = 3.0
"""For the longest example, which decides memory, so that too long is likelier than too short."""
OTHER_A_TOKEN = 1.0
"""Characters outside ASCII are counted as a token each, as they are at worst in Chinese."""
TURN_TOKENS = 5
"""Marks around a chat turn (begin, role, line break, end), where no template is there to be applied."""

TEMPLATE_SAMPLE = 50
"""Chats that are compared with what the template makes of them."""
LEAST_SAID = 0.005

Measure = Callable[[Sequence[Mapping[str, Any]]], list[tuple[int, int]]]
"""Sizes of normalised rows in tokens: the input's or the whole's, and the target's apart."""


class TokenLengths(Value):
    """Tokens an example. For seq2seq the input's, with the target's apart; else of the whole example."""

    n: int = Field(description="examples the figures rest on")
    mean: float
    p50: float
    p95: float
    max: int
    target_mean: float | None = None
    target_max: int | None = None
    cut: float = Field(0.0, ge=0, le=1, description="share of examples cut at the longest allowed")
    how: str = Field(description="measured with which tokenizer, or estimated and by what rule")
    measured: bool
    sizes: tuple[int, ...] = Field((), description="the lengths themselves, sorted")
    notes: tuple[str, ...] = ()
    """What of the rows the model's chat template leaves out."""

    def beyond(self, length: float, rows: int) -> int:
        """How many of `rows` rows are longer than a number of tokens, judged by the sample; at least the longest."""
        share = sum(size > length for size in self.sizes) / len(self.sizes)
        return max(int(self.max > length), round(share * rows))

    def tokens_beyond(self, length: float) -> float:
        """The share of all tokens that cutting at a length takes away, judged by the sample."""
        return sum(max(0.0, size - length) for size in self.sizes) / sum(self.sizes)


def measure_lengths(rows: Rows, spec: ModelSpec | None = None, max_len: int | None = None) -> TokenLengths:
    """Lengths of a data file's examples for a model.

    With the model's tokenizer (its own folder's or the Hub cache's) they are measured on the sample, and the longest
    on the longest rows of the whole file, by the encoder that makes the training's ids: chats by the model's chat
    template. Else they are estimated from characters. A language model's example ends with one end-of-text token.

    Args:
        max_len: longer examples are cut to this, as training would.
    Raises:
        BadRequest: `max_len` is not positive, or the model's chat template refuses the rows' turns.
    """
    if max_len is not None and max_len < 1:
        raise BadRequest(f"an example has at least one token, not {max_len}", max_len=max_len)
    tokenizer, why = _tokenizer(spec)
    pairs = rows.task == "seq2seq" and (spec is None or spec.architecture == "encoder-decoder")
    notes: list[str] = []
    if tokenizer is not None and (rows.kind != "messages" or getattr(tokenizer, "chat_template", None)):
        encoder = _encoder(tokenizer, rows, pairs)
        how = f"measured with the tokenizer in {why}"
        measure = longest_measure = encoder.sizes
        notes = _template_notes(encoder, rows) if rows.kind == "messages" else []
    elif tokenizer is not None:
        how = f"measured with the tokenizer in {why}, which has no chat template: {TURN_TOKENS} tokens a turn assumed"
        measure = longest_measure = _estimate(lambda text: len(tokenizer(text)["input_ids"]), pairs)
    else:
        how = (
            f"estimated: {ASCII_A_TOKEN:g} characters a token ({SAFE_ASCII_A_TOKEN:g} for the longest), "
            f"since {why or 'no model is named'}"
        )
        measure = _estimate(_by_characters(ASCII_A_TOKEN), pairs)
        longest_measure = _estimate(_by_characters(SAFE_ASCII_A_TOKEN), pairs)
    if len(rows.sample) < rows.usable:
        how += f"; {len(rows.sample):,} of {rows.usable:,} rows, and the {len(rows.longest)} longest"
    sample = _scaled(rows.sample, measure)
    longest = _scaled(rows.longest, longest_measure)
    found = _summary(sample, [*sample, *longest], max_len, how, tokenizer is not None)
    return found.model_copy(update={"notes": tuple(notes)})


def _tokenizer(spec: ModelSpec | None) -> tuple[Any, str]:
    """The model's tokenizer and its folder, or None and why there is none.

    Raises:
        UnsupportedModel, BadFile: it is there, and broken.
    """
    folder = tokenizer_folder(spec) if spec is not None else None
    if folder is None:
        return None, "the model's tokenizer is not on this machine" if spec is not None else ""
    ggufs = sorted(folder.glob("*.gguf"))
    alone = ggufs and not any(folder.glob("tokenizer*")) and not any(folder.glob("vocab*"))
    try:
        tokenizer: Any = load_tokenizer(folder, gguf_file=ggufs[0].name if alone else None)
    except UnsupportedModel as error:
        if not needs_foreign_code(error):
            raise
        return None, "the model's tokenizer is Python code of its own, which is never run"
    tokenizer.model_max_length = 10**12  # no warning about lengths: they are what is asked
    return tokenizer, str(folder)


def _encoder(tokenizer: Any, rows: Rows, pairs: bool) -> Encoder:
    far = Workload.model_validate({"model": rows.path, "task": rows.task, "seq_len": 10**7, "target_len": 10**7})
    return Encoder(tokenizer, far, rows.kind, [str(label) for label in rows.labels], pairs=pairs)


def _template_notes(encoder: Encoder, rows: Rows) -> list[str]:
    """What the model's chat template leaves unwritten of the chats: it is neither counted nor trained on."""
    looked = [encoder.left_out(row_of(sized.example)) for sized in rows.sample[:TEMPLATE_SAMPLE]]
    missing, whole = sum(part for part, _ in looked), sum(part for _, part in looked)
    if not whole or missing / whole < LEAST_SAID:
        return []
    return [f"the model's chat template leaves out {missing / whole:.0%} of the chats' characters (tools, reasoning)"]


def _summary(
    sample: Sequence[tuple[int, int]],
    everything: Sequence[tuple[int, int]],
    max_len: int | None,
    how: str,
    measured: bool,
) -> TokenLengths:
    limit = max_len or max(1, *(max(pair) for pair in everything))
    sizes = sorted(min(size, limit) for size, _ in sample)
    targets = [min(target, limit) for _, target in sample]
    has_targets = any(target for _, target in everything)
    return TokenLengths(
        n=len(sizes),
        mean=float(np.mean(sizes)),
        p50=float(np.percentile(sizes, 50)),
        p95=float(np.percentile(sizes, 95)),
        max=min(limit, max(size for size, _ in everything)),
        target_mean=float(np.mean(targets)) if has_targets else None,
        target_max=min(limit, max(target for _, target in everything)) if has_targets else None,
        cut=float(np.mean([max(pair) > limit for pair in sample])),
        how=how,
        measured=measured,
        sizes=tuple(sizes),
    )


def _scaled(part: Sequence[Sized], measure: Measure) -> list[tuple[int, int]]:
    """(tokens of the input or whole, tokens of a seq2seq target); a cut example is scaled up to its true size."""
    found: list[tuple[int, int]] = []
    for sized, (size, target) in zip(part, measure([row_of(sized.example) for sized in part]), strict=True):
        scale = sized.characters / max(1, sized.example.characters)
        found.append((max(1, round(size * scale)), max(1, round(target * scale)) if target else 0))
    return found


def _estimate(count: Callable[[str], int], pairs: bool) -> Measure:
    """Sizes of a row without a chat template, or without a tokenizer at all."""

    def measure(row: Mapping[str, Any]) -> tuple[int, int]:
        if "messages" in row:
            tools = json.dumps(row["tools"], ensure_ascii=False) if row.get("tools") else ""
            turns = row["messages"]
            parts = [" ".join(str(v) for k, v in turn.items() if k not in ("role", "content") and v) for turn in turns]
            said = sum(count(turn["content"]) + TURN_TOKENS for turn in turns) + sum(
                count(part) for part in parts if part
            )
            return said + (count(tools) if tools else 0), 0
        if "prompt" in row:
            prompt, completion = count(row["prompt"]), count(row["completion"])
            return (prompt, max(1, completion)) if pairs else (prompt + completion + 1, 0)
        return count(row["text"]) + ("label" not in row), 0

    return lambda rows: [measure(row) for row in rows]


def _by_characters(ascii_a_token: float) -> Callable[[str], int]:
    def count(text: str) -> int:
        plain = len(text.encode("ascii", "ignore"))
        return round(plain / ascii_a_token + (len(text) - plain) / OTHER_A_TOKEN)

    return count


def long_rows(lengths: TokenLengths, samples: int, beyond: float) -> str:
    """How many rows are longer than a length, and what cutting one in twenty would take."""
    count = lengths.beyond(beyond, samples)
    verb = "is" if count == 1 else "are"
    cut = f"--seq-len {max(1, round(lengths.p95))} cuts one in twenty"
    return f"{count:,} of {samples:,} rows {verb} longer than {beyond:,.0f} tokens; {cut}"
