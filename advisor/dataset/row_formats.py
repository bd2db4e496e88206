"""The formats of rows that people have, one entry each: how it is recognised, and what its rows are trained on as.

An entry with `kind` None is understood but not trained on yet: the rows are refused by the format's name, and what
would work is said. When an objective comes to be modelled, its entry gets a kind.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Final, Literal, get_args

from advisor.dataset import recognisers
from advisor.dataset.columns import Columns
from advisor.dataset.recognisers import Roles

RowKind = Literal["text", "prompt-completion", "messages", "text-label"]
ROW_KINDS: Final[tuple[RowKind, ...]] = get_args(RowKind)


@dataclass(frozen=True, slots=True)
class RowFormat:
    """One format: `recognise` finds its columns by role; `kind` is what its rows are trained on as, None: not yet."""

    name: str
    kind: RowKind | None
    recognise: Callable[[Columns], Roles | None]
    says: str = ""
    """What the rows are and why they are refused; {roles} are filled in with the columns' names."""
    instead: tuple[str, ...] = ()
    """What would work."""

    @property
    def status(self) -> Literal["trained", "refused"]:
        """Whether rows of this format can be trained on here."""
        return "refused" if self.kind is None else "trained"

    def refusal(self, roles: Mapping[str, tuple[str, ...]]) -> tuple[str, tuple[str, ...]]:
        """The sentence and the hints, with the file's own names in them."""
        names = {role: "+".join(columns) for role, columns in roles.items()}
        # what could be read beside pictures is no sign of them
        signs = [roles["media"]] if "media" in roles else roles.values()
        listed = ", ".join(repr(column) for column in dict.fromkeys(itertools.chain(*signs)))
        filled = _Blank(names | {"listed": listed})
        return self.says.format_map(filled), tuple(
            h for h in (i.format_map(filled) for i in self.instead) if "{" not in h
        )


class _Blank(dict[str, str]):
    """A hint that needs a role the rows have not keeps its brace, and is left out."""

    def __missing__(self, key: str) -> str:
        return "{"


ROW_FORMATS: Final[tuple[RowFormat, ...]] = (
    RowFormat(
        "pictures-or-sound",
        None,
        recognisers.media_columns,
        "hold pictures, sound or video ({listed}): training on them from a data file is not modelled yet, and their "
        "tokens would be missing from every length",
        (
            "for the text alone: --columns messages={chat}",
            "for the text alone: --columns text={text}",
            "with pictures of one size beside the text: --columns messages={chat} --images {count} --image-size {size}",
            "with pictures of one size beside the text: --columns text={text} --images {count} --image-size {size}",
        ),
    ),
    RowFormat(
        "token-ids",
        None,
        recognisers.token_ids_columns,
        "hold token ids in '{tokens}', of a tokenizer that they do not name: rows are read as text",
        ("the lengths alone do: give the number of tokens of each row, a number a line, with --length-file",),
    ),
    RowFormat(
        "preference",
        None,
        recognisers.preference_columns,
        "are preference pairs ({listed}), which supervised training cannot learn from",
        (
            "to price preference training on them: advisor recommend --objective dpo (or orpo, simpo, reward ...)",
            "to train on the conversation alone (SFT): --columns messages={messages}",
            "to train on the chosen answers alone (SFT): --columns prompt={prompt},completion={answer}",
        ),
    ),
    RowFormat(
        "kto",
        None,
        recognisers.kto_columns,
        "are answers marked good or bad by '{label}': plain training would learn the bad answers too",
        (
            "to price training on both: advisor recommend --objective kto",
            "to train on the good answers alone (SFT): keep the rows where '{label}' is true, in a file without it",
        ),
    ),
    RowFormat(
        "signed-answers",
        None,
        recognisers.signed_columns,
        "mark answers by 1 and -1 in '{label}': plain training would learn those of -1 too, and KTO's marks are true "
        "and false",
        (
            "to price training on both: write '{label}' as true and false, then advisor recommend --objective kto",
            "to train on the good answers alone (SFT): keep the rows of 1, in a file without '{label}'",
        ),
    ),
    RowFormat(
        "stepwise",
        None,
        recognisers.stepwise_columns,
        "are answers in steps, each marked right or wrong ({listed}): process reward training is not modelled yet",
    ),
    RowFormat(
        "token-classification",
        None,
        recognisers.token_labels_columns,
        "are words with a tag each ({listed}): token classification (NER) is not modelled yet",
    ),
    RowFormat(
        "extractive-qa",
        None,
        recognisers.extractive_columns,
        "are questions with the answer's place in a text ({listed}): extractive question answering is not modelled yet",
        (
            "to train a language model on them, write the answers as text: --columns prompt=question,context=context,"
            "completion=answer",
        ),
    ),
    RowFormat(
        "multiple-choice",
        None,
        recognisers.choice_columns,
        "are questions with a choice of answers ({listed}): multiple choice is not modelled yet",
        ("to train a language model on them: write each as a prompt with its choices and the right one as completion",),
    ),
    RowFormat(
        "triplets",
        None,
        recognisers.triplets_columns,
        "are pairs or triplets for embeddings ({listed}): contrastive training is not modelled yet",
    ),
    RowFormat(
        "scored-pairs",
        None,
        recognisers.scored_pairs_columns,
        "are sentence pairs with a score in '{score}': similarity and other regression is not modelled yet",
        ("where the score is a class: --columns text={pair},label={grade}",),
    ),
    RowFormat(
        "pairs",
        None,
        recognisers.bare_pairs_columns,
        "are sentence pairs without a label ({listed}): training embeddings on them is not modelled yet",
        ("to read them as one text: --columns text={pair}",),
    ),
    RowFormat(
        "multi-label",
        None,
        recognisers.multi_label_columns,
        "have several labels each ({listed}): multi-label classification is not modelled yet",
        ("to train a language model on the text alone: --columns text={text}",),
    ),
    RowFormat(
        "regression",
        None,
        recognisers.regression_columns,
        "have a number to predict in '{score}': regression is not modelled yet",
        ("to train a language model on the text alone: --columns text={text}",),
    ),
    RowFormat(
        "graded-text",
        None,
        recognisers.graded_columns,
        "have a text and a number in '{score}', which may be a class, a value to predict, or neither",
        (
            "as classes: --columns text={text},label={score}",
            "to train a language model on the text alone: --columns text={text}",
        ),
    ),
    RowFormat("messages", "messages", recognisers.messages_columns),
    RowFormat("text-label", "text-label", recognisers.text_label_columns),
    RowFormat("prompt-completion-turns", "messages", recognisers.turns_columns),
    RowFormat("instruction-with-history", "messages", recognisers.with_history_columns),
    RowFormat("prompt-completion", "prompt-completion", recognisers.prompt_completion_columns),
    RowFormat(
        "translation",
        None,
        recognisers.translation_columns,
        "are translations in one column ({listed}), and which way is not said",
        ("one way, for example: --columns prompt={from},completion={to}",),
    ),
    RowFormat(
        "prompts",
        None,
        recognisers.prompt_only_columns,
        "are prompts without an answer ({listed}), which supervised training cannot learn from",
        (
            "to price reinforcement learning on them: advisor recommend --objective grpo (or rloo)",
            "to train on the prompts as texts: --columns text={prompt}",
        ),
    ),
    RowFormat("text", "text", recognisers.text_columns),
)
"""In the order in which they are tried: what could be taken for another comes first."""


def recognised(columns: Columns) -> tuple[RowFormat, Roles] | None:
    """The format of a file's rows and their columns by role; None where it is none of the table."""
    for entry in ROW_FORMATS:
        roles = entry.recognise(columns)
        if roles is not None:
            return entry, roles
    return None
