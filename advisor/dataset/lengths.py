"""How long a data file's examples are in tokens: measured with the tokenizer at hand, else estimated and said so."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from pydantic import Field

from advisor.catalog.models import tokenizer_folder
from advisor.dataset.chat_template import ChatRenderer, TemplateRefused
from advisor.dataset.rows import Example, Rows, Sized
from advisor.domain.model import ModelSpec
from advisor.domain.stored import Value
from advisor.errors import BadRequest, UnsupportedModel
from advisor.loading import load_fast_tokenizer, load_tokenizer, needs_foreign_code, tokenizer_settings

ASCII_A_TOKEN = 4.0
"""Characters a token in English: 3.6 to 4.5 on average with all-MiniLM-L6-v2's tokenizer on three sets of Debian
descriptions and e-mails, and one text in twenty below 2.3 to 3.6."""
SAFE_ASCII_A_TOKEN = 3.0
"""For the longest example, which decides memory, so that too long is likelier than too short."""
OTHER_A_TOKEN = 1.0
"""Characters outside ASCII are counted as a token each, as they are at worst in Chinese."""
TURN_TOKENS = 5
"""Marks around a chat turn (begin, role, line break, end), where no template is there to be applied."""

Count = Callable[[str], int]


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

    def padded_mean(self, batch: int) -> float:
        """Mean over batches of the longest of `batch` examples drawn evenly: what padding makes of the mean.

        Exact for the sample: the i-th smallest of n is the longest with probability (i^B - (i-1)^B) / n^B.
        """
        if batch < 1:
            raise BadRequest(f"a batch has at least one example, not {batch}", batch=batch)
        ranks = np.arange(len(self.sizes) + 1) / len(self.sizes)
        return float(np.dot(np.diff(ranks**batch), np.asarray(self.sizes, dtype=np.float64)))


def measure_lengths(rows: Rows, spec: ModelSpec | None = None, max_len: int | None = None) -> TokenLengths:
    """Lengths of a data file's examples for a model.

    With the model's tokenizer (its own folder's or the Hub cache's) they are measured on the sample, and the longest
    on the longest rows of the whole file; chats by the model's chat template where it has one. Else they are
    estimated from characters. A language model's example ends with one end-of-text token.

    Args:
        max_len: longer examples are cut to this, as training would.
    Raises:
        BadRequest: `max_len` is not positive.
    """
    if max_len is not None and max_len < 1:
        raise BadRequest(f"an example has at least one token, not {max_len}", max_len=max_len)
    folder = tokenizer_folder(spec) if spec is not None else None
    tokenizer, lacking = None, "the model's tokenizer is not on this machine"
    if folder is not None:
        try:
            tokenizer = _Tokenizer(folder)
        except UnsupportedModel as error:
            if not needs_foreign_code(error):
                raise
            lacking = "the model's tokenizer is Python code of its own, which is never run"
    if tokenizer is not None:
        how = f"measured with the tokenizer in {folder}"
        count, longest_count = tokenizer.count, tokenizer.count
    else:
        how = (
            f"estimated: {ASCII_A_TOKEN:g} characters a token ({SAFE_ASCII_A_TOKEN:g} for the longest), since {lacking}"
        )
        count, longest_count = _estimate(ASCII_A_TOKEN), _estimate(SAFE_ASCII_A_TOKEN)
    if len(rows.sample) < rows.count:
        how += f"; {len(rows.sample):,} of {rows.count:,} rows, and the {len(rows.longest)} longest"
    chat = tokenizer.chat if tokenizer is not None else None
    sample = [_sizes(sized, rows, count, chat) for sized in rows.sample]
    longest = [_sizes(sized, rows, longest_count, chat) for sized in rows.longest]
    return _summary(sample, [*sample, *longest], max_len, how, tokenizer is not None)


def _summary(
    sample: Sequence[tuple[int, int]],
    everything: Sequence[tuple[int, int]],
    max_len: int | None,
    how: str,
    measured: bool,
) -> TokenLengths:
    limit = max_len or max(1, *(size for size, _ in everything))
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
        cut=float(np.mean([size > limit for size, _ in sample])),
        how=how,
        measured=measured,
        sizes=tuple(sizes),
    )


def _sizes(sized: Sized, rows: Rows, count: Count, chat: Callable[[Example], int | None] | None) -> tuple[int, int]:
    """(tokens of the input or whole, tokens of a seq2seq target); a cut example is scaled up to its true size."""
    example = sized.example
    scale = sized.characters / max(1, example.characters)
    if example.messages:
        whole = chat(example) if chat is not None else None
        if whole is None:
            whole = sum(count(content) + TURN_TOKENS for _, content in example.messages)
        return max(1, round(whole * scale)), 0
    if rows.task == "seq2seq":
        return max(1, round(count(example.text) * scale)), max(1, round(count(example.target or "") * scale))
    if rows.task == "sequence-classification":
        return max(1, round(count(example.text) * scale)), 0
    target = example.target if example.target is not None else str(example.label or "")
    whole = count(example.text) + (count(target) if target else 0) + 1
    return max(1, round(whole * scale)), 0


def _estimate(ascii_a_token: float) -> Count:
    def count(text: str) -> int:
        plain = len(text.encode("ascii", "ignore"))
        return round(plain / ascii_a_token + (len(text) - plain) / OTHER_A_TOKEN)

    return count


class _Tokenizer:
    """A model's own tokenizer: the fast file alone where there is one, else what transformers makes of the folder."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._slow: Any = None
        self._fast: Any = None
        self._chats = ChatRenderer(None)
        if (folder / "tokenizer.json").is_file():
            self._fast = load_fast_tokenizer(folder)
        else:
            self._whole()

    def count(self, text: str) -> int:
        """Tokens of a text, with the special ones the tokenizer adds."""
        if self._fast is not None:
            return len(self._fast.encode(text).ids)
        return len(self._whole()(text)["input_ids"])

    def chat(self, example: Example) -> int | None:
        """Tokens of a chat under the model's template, None where it has none or it refuses these roles."""
        if self._fast is not None and not self._has_template():
            return None
        tokenizer = self._whole()
        if not getattr(tokenizer, "chat_template", None):
            return None
        turns = [{"role": role, "content": content} for role, content in example.messages]
        try:
            text = self._chats.render(turns)
        except TemplateRefused:
            return None
        return len(tokenizer(text, add_special_tokens=False)["input_ids"])

    def _has_template(self) -> bool:
        if (self._folder / "chat_template.jinja").is_file() or (self._folder / "chat_template.json").is_file():
            return True
        return "chat_template" in tokenizer_settings(self._folder)

    def _whole(self) -> Any:
        if self._slow is None:
            ggufs = sorted(self._folder.glob("*.gguf"))
            alone = ggufs and not any(self._folder.glob("tokenizer*")) and not any(self._folder.glob("vocab*"))
            self._slow = load_tokenizer(self._folder, gguf_file=ggufs[0].name if alone else None)
            self._slow.model_max_length = 10**12  # no warning about lengths: they are what is asked
            self._chats = ChatRenderer(self._slow)
        return self._slow
