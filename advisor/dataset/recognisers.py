"""How a file's columns give away what its rows are: one function a format, each returning its columns by role."""

from __future__ import annotations

from advisor.dataset.columns import Column, Columns, as_float

Roles = dict[str, tuple[str, ...]]
"""The columns of a file by what they are read as."""

TEXTS = ("text", "sentence", "content", "review", "document", "body", "description")
PAIRS = (("sentence1", "sentence2"), ("premise", "hypothesis"), ("text", "text_pair"), ("question", "sentence"))
MORE_PAIRS = (("question1", "question2"), ("text1", "text2"), ("text_a", "text_b"), ("sentence_a", "sentence_b"))
LABELS = ("label", "labels", "class", "category", "sentiment")
SCORES = ("score", "similarity", "similarity_score", "rating", "stars", "target_score", "value")
PROMPTS = (
    ("prompt", "completion"),
    ("prompt", "response"),
    ("instruction", "output"),
    ("instruction", "response"),
    ("query", "response"),
    ("question", "answer"),
    ("question", "response"),
    ("problem", "solution"),
    ("prompt", "answer"),
    ("prompt", "output"),
    ("input", "output"),
    ("input", "target"),
    ("source", "target"),
    ("article", "highlights"),
    ("document", "summary"),
    ("text", "summary"),
    ("dialogue", "summary"),
)
CONTEXTS = ("input", "context")
"""Beside an instruction or a question: what it is about (Alpaca's input, Dolly's and SQuAD's context)."""
SYSTEMS = ("system", "system_prompt")
CHATS = ("messages", "conversations", "conversation")
TOKENS = ("tokens", "words")
TAGS = ("ner_tags", "tags", "labels", "pos_tags", "chunk_tags", "ner", "pos", "upos", "ner_labels")
CHOSEN = ("chosen", "chosen_response", "response_chosen", "accepted", "preferred")
REJECTED = ("rejected", "rejected_response", "response_rejected", "dispreferred")
ANCHORS = ("anchor", "query", "question", "sentence")
POSITIVES = ("positive", "pos", "positives", "positive_passages", "positive_passage")
NEGATIVES = ("negative", "neg", "negatives", "negative_passages", "negative_1")
CHOICES = ("choices", "options", "endings", "answer_choices", "mc1_targets")
FLAG_LABELS = ("label", "labels", "kto_tag", "is_good", "desirable")
TOKEN_IDS = ("input_ids", "token_ids")
MEDIA_TEXTS = ("caption", "captions", "transcription", "transcript", "alt_text", *TEXTS)
"""What beside a picture or a sound could be read alone."""
FEWEST_FLAGS = 5
"""Rows from which columns of zeros and ones are taken for labels; in fewer any number may be 0 or 1."""
MARKED_SHARE = 0.05
"""Share of rows with a picture's mark in the text from which they are rows about pictures, not about such marks."""


def _roles(**columns: Column | None) -> Roles | None:
    """Roles where every column was found."""
    found = {role: (column.name,) for role, column in columns.items() if column is not None}
    return found if len(found) == len(columns) else None


def _also(columns: Columns, roles: Roles, **names: tuple[str, ...]) -> Roles:
    """Roles with those beside them that are here and not taken yet."""
    taken = {name for group in roles.values() for name in group}
    for role, candidates in names.items():
        column = columns.first([name for name in candidates if name not in taken])
        if column is not None and column.name not in taken:
            roles[role] = (column.name,)
    return roles


def pair_of(columns: Columns) -> tuple[Column, Column] | None:
    """Two sentences to compare."""
    for one, other in (*PAIRS, *MORE_PAIRS):
        left, right = columns.find(one), columns.find(other)
        if left and right and left.textual and right.textual:
            return left, right
    return None


def text_of(columns: Columns) -> tuple[str, ...] | None:
    """The columns that make up a text: a pair of sentences or one."""
    pair = pair_of(columns)
    if pair:
        return pair[0].name, pair[1].name
    found = (columns.find(name) for name in TEXTS)
    one = next((column for column in found if column and column.kinds & {"text", "number"}), None)
    return (one.name,) if one else None


def prompt_of(columns: Columns) -> tuple[Column, Column] | None:
    """A prompt and its completion: both texts, or both lists of chat turns."""
    for prompt, completion in PROMPTS:
        one, other = columns.find(prompt), columns.find(completion)
        if one and other and ((one.textual and other.kinds & {"text", "number"}) or (_chats(one) and _chats(other))):
            return one, other
    return None


def _chats(column: Column | None) -> bool:
    """Lists of turns, or what is JSON of such a list in a table's cell."""
    if column is None:
        return False
    if "objects" in column.kinds:
        return bool(column.keys & {"role", "from", "content", "value", "input", "user", "human"})
    return column.filled > 0 and column.json_lists == column.filled


def chat_of(columns: Columns) -> Column | None:
    """The column of chat turns; one of cells in JSON only under a chat's name."""
    found = columns.first(CHATS)
    return found if _chats(found) else None


def media_columns(columns: Columns) -> Roles | None:
    """Pictures, sound or video, in a column of their own or as marks in the text."""
    named = tuple(column.name for column in columns if column.media_kind())
    marked = tuple(column.name for column in columns if column.marks > MARKED_SHARE * columns.rows)
    if not named and not marked:
        return None
    chat, text = chat_of(columns), columns.first(MEDIA_TEXTS, "text")
    beside = {"chat": (chat.name,)} if chat else {"text": (text.name,)} if text and text.name not in named else {}
    return {"media": (*named, *(name for name in marked if name not in named)), **beside}


def preference_columns(columns: Columns) -> Roles | None:
    """A better and a worse answer to one prompt (DPO and kin)."""
    roles = _roles(chosen=columns.first(CHOSEN), rejected=columns.first(REJECTED))
    if roles is None:
        return None
    roles = _also(columns, roles, prompt=("prompt", "question", "instruction", "query", "input"))
    chosen, prompt = columns.by_name[roles["chosen"][0]], columns.by_name.get(roles.get("prompt", ("",))[0])
    chat = chat_of(columns) or (chosen if _chats(chosen) and not _chats(prompt) else None)
    alike = prompt is not None and _chats(prompt) == _chats(chosen)
    return roles | ({"messages": (chat.name,)} if chat else {}) | ({"answer": (chosen.name,)} if alike else {})


def kto_columns(columns: Columns) -> Roles | None:
    """An answer with a mark good or bad."""
    label, prompt, chat = columns.first(FLAG_LABELS, "flag", "number", "text"), prompt_of(columns), chat_of(columns)
    if label is None or not label.flags or text_of(columns):
        return None
    if prompt:
        return {"prompt": (prompt[0].name,), "completion": (prompt[1].name,), "label": (label.name,)}
    return {"messages": (chat.name,), "label": (label.name,)} if chat else None


def signed_columns(columns: Columns) -> Roles | None:
    """An answer marked good by 1 and bad by -1."""
    label, prompt = columns.first(FLAG_LABELS, "number", "text"), prompt_of(columns)
    if label is None or prompt is None or not label.numeric or label.many:
        return None
    return {"label": (label.name,)} if {as_float(value) for value in label.values} == {-1.0, 1.0} else None


def token_ids_columns(columns: Columns) -> Roles | None:
    """Numbers of tokens, where the texts were."""
    return _roles(tokens=columns.first(TOKEN_IDS, "numbers"))


def stepwise_columns(columns: Columns) -> Roles | None:
    """An answer in steps, each marked right or wrong (process reward)."""
    return _roles(completions=columns.first(("completions", "steps"), "texts"), labels=columns.first(LABELS, "flags"))


def token_labels_columns(columns: Columns) -> Roles | None:
    """Words with a tag each."""
    return _roles(tokens=columns.first(TOKENS, "texts"), tags=columns.first(TAGS, "numbers", "texts"))


def extractive_columns(columns: Columns) -> Roles | None:
    """A question and the place of its answer in a text (SQuAD)."""
    paragraphs = columns.first(("paragraphs",), "objects")
    if paragraphs and "qas" in paragraphs.keys:
        return {"paragraphs": (paragraphs.name,)}
    answers = columns.first(("answers", "answer"), "object", "objects")
    if answers is None or not answers.keys & {"answer_start", "text"}:
        return None
    return _roles(context=columns.find("context"), question=columns.find("question"), answers=answers)


def choice_columns(columns: Columns) -> Roles | None:
    """A question with answers to choose among."""
    answer = columns.first(("answer", "label", "answerkey", "answer_idx", "correct", "gold", "target"))
    options = columns.first(CHOICES, "texts", "object", "objects")
    several = [columns.find(name) for name in ("ending0", "ending1")]
    several = several if all(several) else [columns.find(name) for name in ("a", "b", "c", "d")]
    if options and (answer or options.keys):
        return {"choices": (options.name,)} | ({"answer": (answer.name,)} if answer else {})
    if answer and all(several):
        return {"choices": tuple(column.name for column in several if column), "answer": (answer.name,)}
    return None


def triplets_columns(columns: Columns) -> Roles | None:
    """An anchor, what is like it and, perhaps, what is not."""
    roles = _roles(anchor=columns.first(ANCHORS), positive=columns.first(POSITIVES))
    return _also(columns, roles, negative=NEGATIVES) if roles else None


def _score(columns: Columns, *, fractions: bool | None = None) -> Column | None:
    """A numeric column that is called like a score, or a label that is no whole number."""
    label, score = columns.first(LABELS), columns.first(SCORES)
    if label is not None:
        score = label if label.numeric and label.fractions else None
    fits = score is not None and score.numeric and (fractions is None or bool(score.fractions) == fractions)
    return score if fits else None


def scored_pairs_columns(columns: Columns) -> Roles | None:
    """Two sentences and a number that says how alike they are."""
    pair, score = pair_of(columns), _score(columns)
    if pair is None or score is None:
        return None
    grade = {} if score.fractions else {"grade": (score.name,)}
    return {"pair": (pair[0].name, pair[1].name), "score": (score.name,), **grade}


def bare_pairs_columns(columns: Columns) -> Roles | None:
    """Two sentences, and no label."""
    pair, label = pair_of(columns), columns.first(LABELS)
    return None if pair is None or label is not None else {"pair": (pair[0].name, pair[1].name)}


def multi_label_columns(columns: Columns) -> Roles | None:
    """A text with several labels: a list, or columns of zeros and ones."""
    text = text_of(columns)
    lists = columns.first(LABELS, "texts", "numbers", "flags")
    if text is None:
        return None
    if lists is not None:
        return {"text": text, "labels": (lists.name,)}
    several = tuple(c.name for c in columns if c.flags and c.filled >= FEWEST_FLAGS and not c.is_index())
    return {"text": text, "labels": several} if len(several) > 1 and columns.first(LABELS) is None else None


def regression_columns(columns: Columns) -> Roles | None:
    """A text and a fraction to predict."""
    text, score = text_of(columns), _score(columns, fractions=True)
    return None if text is None or score is None or prompt_of(columns) else {"text": text, "score": (score.name,)}


def graded_columns(columns: Columns) -> Roles | None:
    """A text and a whole number that is not called a label."""
    text, score = text_of(columns), _score(columns, fractions=False)
    return None if text is None or score is None or prompt_of(columns) else {"text": text, "score": (score.name,)}


def messages_columns(columns: Columns) -> Roles | None:
    """A chat, with its system text and tools where they have columns of their own."""
    chat = chat_of(columns)
    return None if chat is None else _also(columns, {"messages": (chat.name,)}, system=SYSTEMS, tools=("tools",))


def turns_columns(columns: Columns) -> Roles | None:
    """A prompt and its completion, each a list of chat turns."""
    pair = prompt_of(columns)
    if pair is None or not (_chats(pair[0]) and _chats(pair[1])):
        return None
    return _also(columns, {"prompt": (pair[0].name,), "completion": (pair[1].name,)}, tools=("tools",))


def with_history_columns(columns: Columns) -> Roles | None:
    """A prompt and its completion with a system text, earlier turns or tools beside them."""
    roles = prompt_completion_columns(columns)
    if roles is None:
        return None
    roles = _also(columns, roles, system=SYSTEMS, history=("history",), tools=("tools",))
    return roles if roles.keys() & {"system", "history", "tools"} else None


def text_label_columns(columns: Columns) -> Roles | None:
    """A text and its class."""
    text, label = text_of(columns), columns.first(LABELS)
    return None if text is None or label is None else {"text": text, "label": (label.name,)}


def prompt_completion_columns(columns: Columns) -> Roles | None:
    """A prompt and its completion, with what the prompt is about."""
    pair = prompt_of(columns)
    if pair is None:
        return None
    roles: Roles = {"prompt": (pair[0].name,), "completion": (pair[1].name,)}
    taken = {pair[0].name, pair[1].name}
    beside = [columns.find(name) for name in CONTEXTS]
    context = tuple(column.name for column in beside if column and column.textual and column.name not in taken)
    return roles | {"context": context} if context else roles


def prompt_only_columns(columns: Columns) -> Roles | None:
    """A prompt alone."""
    return _roles(prompt=columns.first(("prompt",)))


def translation_columns(columns: Columns) -> Roles | None:
    """One object with a text in each language."""
    column = columns.first(("translation",), "object")
    if column is None or len(column.keys) < 2:
        return None
    one, other = sorted(column.keys)[:2]
    return {"from": (f"{column.name}.{one}",), "to": (f"{column.name}.{other}",)}


def text_columns(columns: Columns) -> Roles | None:
    """A text."""
    text = text_of(columns)
    return {"text": text} if text else None
