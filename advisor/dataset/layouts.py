"""How a file's rows are read: by the names a user gave, else by the table of formats; and what is said of the rest."""

from __future__ import annotations

import dataclasses
import difflib
import os
from collections.abc import Collection, Mapping, Sequence
from pathlib import Path
from typing import Any, Final

from advisor.dataset.columns import Column, Columns, as_float
from advisor.dataset.examples import Label, Layout
from advisor.dataset.files import bad
from advisor.dataset.folders import Placed, find_files
from advisor.dataset.media import picture_sizes
from advisor.dataset.readers import plain_suffix, table_of
from advisor.dataset.recognisers import (
    CHATS,
    LABELS,
    PROMPTS,
    SCORES,
    SYSTEMS,
    TEXTS,
    Roles,
    prompt_of,
    text_of,
)
from advisor.dataset.row_formats import ROW_FORMATS, RowFormat, RowKind, recognised
from advisor.errors import BadRequest

MEANINGS: Final[Mapping[str, str]] = {
    **dict.fromkeys(
        ("utterance", "sentences", "tweet", "comment", "comment_text", "message", "abstract", "passage"), "text"
    ),
    **dict.fromkeys(("texts", "news", "headline", "title", "sms", "email", "post", "paragraph", "statement"), "text"),
    **dict.fromkeys(("intent", "topic", "emotion", "target_label", "label_text", "tag", "genre", "y"), "label"),
    **dict.fromkeys(("user", "human", "ask", "questions", "prompts", "instructions", "src", "user_input"), "prompt"),
    **dict.fromkeys(
        ("assistant", "bot", "reply", "answers", "completions", "responses", "outputs", "tgt"), "completion"
    ),
    **dict.fromkeys(("generation", "generated", "translation_text", "bot_reply"), "completion"),
    **dict.fromkeys(("chat", "turns", "dialog", "dialogs", "chat_history", "message_list"), "messages"),
}
"""What columns of other names are usually read as; offered, never assumed."""
_CHAT_NAMES: Final = frozenset({*CHATS, *(name for name, role in MEANINGS.items() if role == "messages")})
UNDERSTOOD: Final = "text; text and label; prompt and completion; instruction and output; messages; input and target"
ORIGINS: Final = ("source", "target", "input")
FEW_CLASSES: Final = 0.5
"""A column offered as label has fewer different values than this share of the rows."""
PROMPTED: Final = ("prompts", "prompt-completion")
"""Formats of which reinforcement objectives read the prompts alone."""
ANSWERS: Final = ("chosen", "rejected")
"""Roles of a pair, one sequence each."""
GRADES: Final = frozenset(
    {*SCORES, *LABELS, "grade", "margin", "quality", "rank", "reward", "scores", "weight", "helpfulness"}
)
"""Words in the names of numbers that say how much a row is worth, or of which class it is."""
SMALL: Final = 0.005
"""A share of the characters below this is said as less than one per cent."""


def find_layout(path: Path, seen: Columns, named: Roles, first: Placed, also: Collection[str] = ()) -> Layout:
    """How rows with these columns are read.

    Args:
        also: formats beside those of supervised training that are read too, or read otherwise: `preference`, `kto`,
            `prompts`, `prompt-completion`.

    Raises:
        BadRequest: a format that is not trained on yet, by its name; a column named that is not there.
        BadFile: columns of no known format; says what they may be meant as.
    """
    if named and set(ANSWERS) <= named.keys():
        roles = {role: tuple(_existing(path, seen, name) for name in names) for role, names in named.items()}
        if "preference" in also:
            return _preference_layout(seen, roles, "preference")
        raise _not_trained(path, next(entry for entry in ROW_FORMATS if entry.name == "preference"), roles)
    if named:
        return _as_named(path, seen, named)
    found = recognised(seen)
    if found is None:
        raise _unknown(path, seen, first)
    entry, roles = found
    if entry.name in also and "prompt" in roles and entry.name in PROMPTED:
        return _prompt_layout(seen, roles, entry.name)
    if entry.name in also:
        return _preference_layout(seen, roles, entry.name)
    if entry.kind is None:
        raise _not_trained(path, entry, roles)
    return _with_unlabelled(path, seen, Layout(entry.name, entry.kind, roles))


def _prompt_layout(seen: Columns, roles: Roles, path_format: str) -> Layout:
    """The layout of rows whose prompts alone are read: what stands beside them is for the reward."""
    if _chat(seen, roles, "prompt"):
        return Layout(path_format, "messages", {"messages": roles["prompt"]})
    return Layout(path_format, "text", {"text": roles["prompt"]})


def _preference_layout(seen: Columns, roles: Roles, path_format: str) -> Layout:
    """The layout of `preference` and `kto` rows, by the roles that the format found.

    A pair's two answers follow its prompt, or hold it already; turns of a chat may stand in either. Rows of answers
    marked good or bad are read as prompt and completion.
    """
    if path_format == "kto":
        kind: RowKind = "messages" if "messages" in roles else "prompt-completion"
        if kind == "prompt-completion" and _chat(seen, roles, "completion"):
            kind = "messages"
        return Layout(path_format, kind, roles)
    kept = {role: roles[role] for role in ANSWERS}
    if _chat(seen, roles, "chosen"):
        # a prompt in plain text beside whole conversations is part of them already
        kept |= {"prompt": roles["prompt"]} if _chat(seen, roles, "prompt") else {}
        return Layout(path_format, "messages", kept, answers=ANSWERS)
    if "messages" in roles:
        return Layout(path_format, "messages", {**kept, "messages": roles["messages"]}, answers=ANSWERS)
    if "prompt" in roles:
        return Layout(path_format, "prompt-completion", {**kept, "prompt": roles["prompt"]}, answers=ANSWERS)
    return Layout(path_format, "text", kept, answers=ANSWERS)


def _chat(seen: Columns, roles: Roles, role: str) -> bool:
    column = seen.by_name.get(roles.get(role, ("",))[0])
    if column is None:
        return False
    return "objects" in column.kinds or (column.filled > 0 and column.json_lists == column.filled)


def _not_trained(path: Path, entry: RowFormat, roles: Roles) -> BadRequest:
    sentence, instead = entry.refusal(roles | (pictures := _pictures(path, roles)))
    return BadRequest(
        f"the rows of {path} {sentence}",
        hints=[*pictures.get("told", ()), *instead, f"what can be trained on: {UNDERSTOOD}"],
        path=str(path),
        row_format=entry.name,
        columns={role: list(names) for role, names in roles.items()},
    )


def _pictures(path: Path, roles: Roles) -> dict[str, tuple[str, ...]]:
    """How many pictures of which size a hint names: the most and the largest, which memory is for; examples else."""
    if "media" not in roles:
        return {}
    found = picture_sizes(path, roles["media"])
    if found is None:
        return {"count": ("1",), "size": ("1024x768",)}
    width, height = found.largest or (1024, 768)
    return {"count": (str(found.most),), "size": (f"{width}x{height}",), "told": (str(found),)}


def for_task(layout: Layout, task: str | None) -> Layout:
    """Rows with labels, where a language model is asked for: the label is the completion."""
    if task != "causal-lm" or layout.kind != "text-label":
        return layout
    roles = {"prompt": layout.roles["text"], "label": layout.roles["label"]}
    return dataclasses.replace(layout, kind="prompt-completion", roles=roles)


def _as_named(path: Path, seen: Columns, named: Roles) -> Layout:
    """The layout that the roles named make; a role that is missing is filled by its customary name."""
    roles = {role: tuple(_existing(path, seen, name) for name in names) for role, names in named.items()}
    kind: RowKind
    if "messages" in roles:
        kind = "messages"
    elif roles.keys() & {"prompt", "completion"}:
        pair = prompt_of(seen)
        for role, column in zip(("prompt", "completion"), pair or (), strict=False):
            if role not in roles and not any(column.name in names for names in roles.values()):
                roles[role] = (column.name,)
        missing = [role for role in ("prompt", "completion") if role not in roles]
        if missing:
            raise _incomplete(path, seen, missing[0])
        chat = all(_listed(seen, roles[role]) for role in ("prompt", "completion"))
        kind = "messages" if chat or roles.keys() & {"system", "history", "tools"} else "prompt-completion"
    elif roles.keys() & {"text", "label"}:
        text = text_of(seen)
        if "text" not in roles and text is None:
            raise _incomplete(path, seen, "text")
        roles = {"text": text or (), **roles}
        kind = "text-label" if "label" in roles else "text"
    else:
        base = recognised(seen)
        if base is None or base[0].kind is None:
            raise _incomplete(path, seen, "prompt")
        kind, roles = base[0].kind, {**base[1], **roles}
        if kind == "prompt-completion" and roles.keys() & {"system", "history", "tools"}:
            kind = "messages"
    _check_label(path, seen, roles)
    return _with_unlabelled(path, seen, Layout("named", kind, roles))


def _existing(path: Path, seen: Columns, name: str) -> str:
    """A column by the name given, in any case, or one part of an object: `translation.en`."""
    column = seen.find(name) or seen.find(name.lower()) or seen.by_name.get(name)
    if column is not None:
        return column.name
    outer = seen.by_name.get(name.partition(".")[0])
    if outer is not None and name.partition(".")[2].partition(".")[0] in outer.keys:
        return name
    near = difflib.get_close_matches(name, list(seen.by_name), n=2, cutoff=0.5)
    raise BadRequest(
        f"the rows of {path} have no column {name!r}",
        hints=[*([f"near names: {', '.join(near)}"] if near else []), f"columns are: {table_of(seen.by_name)}"],
        path=str(path),
        column=name,
        near=near,
    )


def _incomplete(path: Path, seen: Columns, role: str) -> BadRequest:
    return BadRequest(
        f"--columns does not say which column of {path} is the {role}",
        hints=[f"columns are: {table_of(seen.by_name)}", f"for example: --columns {_guess(seen) or 'text=COLUMN'}"],
        path=str(path),
        role=role,
    )


def _listed(seen: Columns, names: Sequence[str]) -> bool:
    columns = [seen.by_name.get(name) for name in names]
    return all(column is not None and column.kinds == {"objects"} for column in columns)


def _check_label(path: Path, seen: Columns, roles: Roles) -> None:
    """Refuse a label that is no class by its name."""
    column = seen.by_name.get(roles["label"][0]) if "label" in roles else None
    if column is None:
        return
    entries = {entry.name: entry for entry in ROW_FORMATS}
    lists = column.kinds & {"texts", "numbers", "flags"}
    if lists or (column.numeric and column.fractions):
        entry = entries["multi-label" if lists else "regression"]
        sentence, _ = entry.refusal({"score": (column.name,), "labels": (column.name,)})
        raise BadRequest(f"the rows of {path} {sentence}", path=str(path), row_format=entry.name)


def _with_unlabelled(path: Path, seen: Columns, layout: Layout) -> Layout:
    """The layout with -1 as the sign of a row without label, where it is one.

    In `datasets` the rows of a hidden test set, and those without agreement, have the label -1 beside classes that
    count from 0. With the classes 0 and 1 alone it may as well be the third of three (negative, neutral, positive).
    """
    column = seen.by_name.get(layout.roles["label"][0]) if layout.kind == "text-label" else None
    if column is None or not column.numeric or column.many or column.fractions:
        return layout
    values = {value if isinstance(value, int) else int(as_float(value)): value for value in column.values}
    if -1 not in values:
        return layout
    others = sorted(set(values) - {-1})
    if others == [0, 1]:
        raise BadRequest(
            f"the rows of {path} have the labels -1, 0 and 1, and -1 may mean unlabelled or be a class of its own",
            hints=["drop the rows of -1 where it means unlabelled", "write the labels as words where it is a class"],
            path=str(path),
            column=column.name,
        )
    if others != list(range(len(others))) or len(others) == 1:
        return layout
    unlabelled: Label = values[-1] if isinstance(values[-1], str) else -1
    return dataclasses.replace(layout, unlabelled=unlabelled)


def not_used(seen: Columns, layout: Layout, turn_keys: set[str]) -> tuple[str, ...]:
    """What is to be said of the columns that are not read: their names and the share of the text they are."""
    read = {name.partition(".")[0] if name not in seen.by_name else name for name in layout.used}
    rest = [column for column in seen if column.name not in read and column.filled]
    notes: list[str] = []
    said = [column for column in rest if column.characters]
    said.sort(key=lambda column: -column.characters)
    if said:
        shares = [
            f"{c.name!r} ({_share(c.characters, seen.characters)}{' of the characters' * (i == 0)})"
            for i, c in enumerate(said)
        ]
        listed = shares[0] if len(shares) == 1 else f"{', '.join(shares[:-1])} and {shares[-1]}"
        notes.append(f"column{'s' * (len(said) > 1)} {listed} {'are' if len(said) > 1 else 'is'} not used")
    if index := [column.name for column in rest if column.is_index()]:
        notes.append(f"the row numbers in {', '.join(map(repr, index))} are left out")
    flags = [column for column in rest if column.flags and column.name.lower() in ("label", "kto_tag")]
    flags = flags[:1] if layout.kind in ("prompt-completion", "messages") else []
    notes += [f"{c.name!r} is not used: answers it marks as bad are trained on like the good ones" for c in flags]
    if grades := [column.name for column in rest if column not in flags and _is_grade(column)]:
        notes.append(f"the numbers in {', '.join(map(repr, grades))} are not used: each row counts alike")
    media = [column.name for column in rest if column.media_kind()]
    if media:
        notes.append(f"pictures or sound in {', '.join(map(repr, media))} are not used: lengths are of the text alone")
    if turn_keys:
        listed = ", ".join(sorted(map(repr, turn_keys)))
        notes.append(f"{listed} in the chat turns {'are' if len(turn_keys) > 1 else 'is'} not used")
    if marked := sum(column.marks for column in seen if column.name in read):
        notes.append(f"{marked} rows hold a mark like <image>, read as plain text")
    if seen.more:
        notes.append("further columns, beyond the first 2000, are not used")
    return tuple(notes)


def _is_grade(column: Column) -> bool:
    """Numbers called like what weighs, grades or classes rows."""
    return (column.numeric or column.flags) and bool(GRADES & set(column.name.lower().split("_")))


def _share(part: int, whole: int) -> str:
    return f"{part / whole:.0%}".replace("%", " %") if part / whole >= SMALL else "less than 1 %"


def near_columns(path: str | os.PathLike[str]) -> list[str]:
    """How a file's columns could be named, for a hint."""
    files = find_files(path)
    rows = [row for _, (_, _, row) in zip(range(200), files.rows([]), strict=False)]
    guess = _guess(Columns(rows))
    return [f"to name the columns, for example: --columns {guess}"] if guess else []


def _unknown(path: Path, seen: Columns, first: Placed) -> Exception:
    file, number, row = first
    nulls = [name for name, value in row.items() if value is None]
    said = f" ({', '.join(map(repr, nulls))} null)" if nulls else ""
    unfilled = [column.name for column in seen if not column.filled and column.name not in nulls]
    said += f" ({', '.join(map(repr, unfilled))} empty in every row)" if unfilled else ""
    guess = _guess(seen)
    known = {*TEXTS, *LABELS, *CHATS, *(name for pair in PROMPTS for name in pair)}
    strange = any(name.lower() not in known for name in row)
    table = plain_suffix(file) in (".csv", ".tsv")
    header = table and strange and any(_looks_like_data(column) for column in seen)
    hints = ["the first line of the table must name its columns"] if header else []
    turns = next((c.name for c in seen if c.kinds == {"texts"} and c.name.lower() in _CHAT_NAMES), None)
    if turns is not None:
        hints = [f"{turns!r} lists texts, and a chat's turns say whose: {{'role': 'user', 'content': ...}}"]
    elif row and not header:
        hints = [f"to name the columns, for example: --columns {guess or 'text=COLUMN,label=COLUMN'}"]
    return bad(file, f"has {table_of(row)}{said}, which is none of: {UNDERSTOOD}", number, hints=hints)


def _looks_like_data(column: Column) -> bool:
    """Whether a header's cell reads like the cells below it."""
    name = column.name.strip()
    return name.count(" ") > 2 or name.replace(".", "").isdigit() or len(name) > 40 or name in column.values


def _guess(seen: Columns) -> str:
    """A `--columns` that suits these columns: by what their names usually mean, else by what they hold."""
    meant: dict[str, str] = {}
    customary = {
        **MEANINGS,
        **dict.fromkeys(TEXTS, "text"),
        **dict.fromkeys(LABELS, "label"),
        **dict.fromkeys(CHATS, "messages"),
    }
    for prompt, completion in PROMPTS:
        customary.setdefault(prompt, "prompt")
        customary.setdefault(completion, "completion")
    for column in seen:
        close = difflib.get_close_matches(column.name.lower(), list(customary), n=1, cutoff=0.75)
        role = customary.get(close[0]) if close else None
        fits = bool(column.filled)
        if role in ("text", "prompt", "completion"):
            # where rows come from is called `source` too, and comes again
            fits = column.textual and not (column.name.lower() in ORIGINS and _classes(column, seen.rows))
        if role == "messages":
            fits = "objects" in column.kinds or column.json_lists == column.filled > 0
        if role and fits and column.name.lower() not in SYSTEMS:
            meant.setdefault(role, column.name)
    for roles in (("messages",), ("prompt", "completion"), ("text", "label")):
        if all(role in meant for role in roles):
            return ",".join(f"{role}={meant[role]}" for role in roles)
    return _by_content(seen, meant)


def _by_content(seen: Columns, meant: Mapping[str, str]) -> str:
    texts = [c for c in seen if c.textual and not _classes(c, seen.rows)]
    texts.sort(key=lambda column: -column.characters)
    labels = [c for c in seen if _classes(c, seen.rows) and not c.is_index() and (len(c.values) > 1 or seen.rows < 3)]
    text = next((seen.by_name[meant[r]] for r in ("text", "prompt") if r in meant), texts[0] if texts else None)
    if text is None:
        return ""
    others: list[Column] = [column for column in texts if column is not text]
    label = seen.by_name.get(meant.get("label", "")) or (labels[0] if labels else None)
    if label is not None and label is not text and not others:
        return f"text={text.name},label={label.name}"
    if label is not None and label is not text and "label" in meant:
        return f"text={text.name},label={label.name}"
    completion = seen.by_name.get(meant.get("completion", "")) or (others[0] if others else None)
    if completion is None or completion is text:
        return f"text={text.name}"
    order = list(seen.by_name)
    one, other = sorted((text.name, completion.name), key=order.index)
    return f"prompt={one},completion={other}"


def _classes(column: Column, rows: int) -> bool:
    """Few short values that come again."""
    single: set[Any] = column.kinds - {"text", "number", "flag"}
    return not single and not column.many and bool(column.values) and len(column.values) <= max(2, FEW_CLASSES * rows)
