"""A config whose fields are of the wrong kind is a bad file to whoever loads the model, whichever way it is noticed."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest

from advisor import loading
from advisor.domain.model import ModelSpec
from advisor.errors import BadFile


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("initializer_range", "nan"),
        ("max_position_embeddings", "x"),
        ("pad_token_id", {}),
        ("hidden_size", None),
        ("num_hidden_layers", [2]),
        ("hidden_act", 7),
    ],
)
def test_a_field_of_the_wrong_kind_is_a_bad_file(
    tiny_bert: ModelSpec, tmp_path: Path, field: str, value: object
) -> None:
    folder = tmp_path / "model"
    shutil.copytree(tiny_bert.weights or "", folder)
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps({**config, field: value}))
    with pytest.raises(BadFile, match="holds no model that can be loaded"):
        loading.load_model(loading.auto_model("SequenceClassification"), folder)


@pytest.mark.parametrize(
    "damage",
    [
        lambda config: config.unlink(),
        lambda config: config.write_text("{}"),
        lambda config: config.write_text('{"model_type": "not-yet-there"}'),
        lambda config: config.write_text('{"model_type": "clap"}'),
    ],
    ids=["missing", "no type", "unknown type", "type of another task"],
)
def test_a_folder_that_names_no_such_model_is_a_bad_file(tiny_bert: ModelSpec, tmp_path: Path, damage) -> None:
    # a folder whose name holds no type that transformers could guess
    folder = tmp_path / "m"
    shutil.copytree(tiny_bert.weights or "", folder)
    damage(folder / "config.json")
    with pytest.raises(BadFile, match="holds no model that can be loaded"):
        loading.load_model(loading.auto_model("CausalLM"), folder)
