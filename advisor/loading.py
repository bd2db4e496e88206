"""The one door to model folders: tokenizers, configs and weights are loaded here and nowhere else.

A model folder is a stranger's. transformers would run Python files from it where a config says so (`auto_map`,
`custom_generate`), asking the user on the terminal; peft and torch read pickles, which run code as they are opened.
Everything here is loaded with `trust_remote_code=False`, which makes that question unreachable, and weights only
from safetensors. It lies below the wings, since dataset, assembly and training all load; `tests/test_loading_door.py`
reads the sources and finds no other place that does.
"""

# pyright: reportUnknownMemberType=false
# transformers' and peft's from_pretrained name only some of their types

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, TypeVar, cast

from advisor import store
from advisor.domain.plain_values import is_object
from advisor.errors import AdvisorError, BadFile, UnsupportedModel

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

T = TypeVar("T")

PICKLES: Final = ("*.bin", "*.pt", "*.pth", "*.ckpt", "*.pkl", "*.pickle")
"""Names under which weights are pickled."""
KERNEL_FIELDS: Final = ("attn_implementation", "_attn_implementation", "experts_implementation", "use_kernels")
"""Config fields by which a model asks transformers to fetch compiled code."""
TOKENIZER_FILES: Final = ("tokenizer.json", "tokenizer_config.json", "special_tokens_map.json", "added_tokens.json")
LARGEST_TOKENIZER_BYTES: Final = 40 * 2**20
"""Of `tokenizer.json`, which took 15 times its size in memory (11 MiB of vocabulary, tokenizers 0.23); the largest
published ones have some 35 MB."""
LARGEST_CONFIG_BYTES: Final = 20 * 2**20
"""Of any other JSON file of a model folder, which takes up to 30 times its size (8 MiB of empty lists); the largest
published ones, indices of models with hundreds of experts, have some 15 MB."""
DEEPEST: Final = 200
"""Nesting of a tokenizer file or config; published ones stay under 20."""


class _ForeignCode(UnsupportedModel):
    """A model folder that cannot be loaded without running Python files of its own."""


def load_tokenizer(folder: str | Path, *, gguf_file: str | None = None) -> Any:
    """transformers' tokenizer of a local folder.

    Raises:
        UnsupportedModel: it needs code of its own, which is never run.
        BadFile: its files are empty, cut off, garbage, or may not be read.
    """
    folder = Path(folder)
    _check_files(folder, TOKENIZER_FILES)
    from transformers import AutoTokenizer

    extra: dict[str, Any] = {"gguf_file": gguf_file} if gguf_file else {}

    def load() -> Any:
        found = cast(
            "PreTrainedTokenizerBase",
            AutoTokenizer.from_pretrained(str(folder), trust_remote_code=False, local_files_only=True, **extra),
        )
        # transformers makes an empty vocabulary of some broken files
        len(found)
        return found

    return _translated(load, folder, "tokenizer")


def make_config(model_type: str, fields: Mapping[str, Any]) -> Any:
    """transformers' own config of a model type, from plain fields.

    Raises:
        UnsupportedModel: the fields ask for code from elsewhere.
        ValueError, TypeError, KeyError, AttributeError: transformers does not know the type, or refuses the values.
    """
    from transformers import AutoConfig

    refuse_fetched_kernels(fields, model_type)
    return AutoConfig.for_model(model_type, **{k: v for k, v in fields.items() if k != "auto_map"})


def auto_model(head: str) -> Any:
    """transformers' auto class of a head, such as `CausalLM`; pass it to `build_model` or `load_model`."""
    import transformers

    return getattr(transformers, f"AutoModelFor{head}")


def denoiser_class(name: str) -> Any:
    """diffusers' class of that name, which builds a denoiser with random weights from its own keywords."""
    import diffusers

    return getattr(diffusers, name)


def build_model(kind: Any, config: Any, **options: Any) -> Any:
    """A model of an auto class from its config, with random weights."""
    if getattr(config, "architectures", None) is None:
        # of a type with several heads transformers looks through the list, and fails where there is none (deit)
        config.architectures = []
    return kind.from_config(config, trust_remote_code=False, **options)


def load_model(kind: Any, folder: str | Path, **options: Any) -> Any:
    """A model of an auto class, or of one class of transformers', with the safetensors of a local folder.

    Raises:
        UnsupportedModel: it needs code of its own, or its weights are pickled.
        BadFile: a file of the folder is cut off, garbage, or may not be read; fields of its config are no such fields,
            or it has no config.
        ValueError, KeyError, RuntimeError: as transformers says it.
    """
    from huggingface_hub.errors import StrictDataclassError
    from safetensors import SafetensorError

    folder = Path(folder)
    _check_files(folder, ("config.json", "generation_config.json"))
    refuse_fetched_kernels(_document(folder / "config.json"), str(folder))
    safetensors_of(folder)
    try:
        return kind.from_pretrained(
            str(folder), trust_remote_code=False, use_safetensors=True, local_files_only=True, **options
        )
    except (OSError, SafetensorError) as error:
        raise _bad(folder, f"holds no weights that can be loaded: {_line(error)}") from error
    except (AttributeError, TypeError, IndexError, RecursionError, StrictDataclassError) as error:
        # what transformers refuses or stumbles over in a config whose fields are of the wrong kind
        raise _bad(folder, f"holds no model that can be loaded: {type(error).__name__}: {_line(error)}") from error
    except ValueError as error:
        if _is_about_code(error):
            raise _foreign(folder, "model") from error
        if re.search(r"model[ _]type|Unrecognized", str(error)):
            # no config.json, or one that names no kind of model, or none that transformers knows
            raise _bad(folder, f"holds no model that can be loaded: {_line(error)}") from error
        raise


def load_adapter(model: Any, folder: str | Path) -> Any:
    """A peft adapter's safetensors onto a base model.

    Raises:
        UnsupportedModel: its weights are pickled.
    """
    from peft import PeftModel

    folder = Path(folder)
    _refuse_pipes(folder)
    if not (folder / "adapter_model.safetensors").is_file():
        raise pickled(folder)
    return PeftModel.from_pretrained(model, str(folder), use_safetensors=True)


def load_auto_peft(name: str, folder: str | Path, **options: Any) -> Any:
    """A peft adapter's safetensors on the base that its config names, by peft's own class of that name.

    Raises:
        UnsupportedModel: its weights are pickled.
    """
    folder = Path(folder)
    _refuse_pipes(folder)
    import peft

    if not (folder / "adapter_model.safetensors").is_file():
        raise pickled(folder)
    # peft hands these on to the base model's class, which would else take pickles, or ask the Hub
    return getattr(peft, name).from_pretrained(
        str(folder), trust_remote_code=False, use_safetensors=True, local_files_only=True, **options
    )


def load_state(path: Path, device: str) -> Any:
    """An optimizer's state from a checkpoint of our own.

    Raises:
        BadFile: it is cut off, garbage, or holds more than tensors and plain values, which would run code.
    """
    from pickle import UnpicklingError

    import torch

    try:
        return torch.load(path, map_location=device, weights_only=True)
    except torch.OutOfMemoryError:
        raise
    except (UnpicklingError, EOFError, RuntimeError) as error:
        raise BadFile(
            f"{path} is no checkpoint that can be loaded: {_line(error)}",
            hints=[f"delete {path.parent}: the training goes on from an earlier checkpoint, or begins anew"],
            path=str(path),
            reason=_line(error),
        ) from error


def safetensors_of(folder: Path) -> list[Path]:
    """The weight files of a model folder, those that an index names and that may be missing among them.

    Raises:
        UnsupportedModel: the weights are not safetensors.
        BadFile: an index that is no list of files of this folder.
    """
    try:
        found = set(folder.glob("*.safetensors"))
        indices = sorted(folder.glob("*.safetensors.index.json"))
    except OSError as error:
        raise _bad(folder, f"cannot be read: {error.strerror or error}") from error
    for index in indices:
        _check_files(folder, (index.name,))
        listed = _document(index).get("weight_map")
        names: list[object] = list(listed.values()) if is_object(listed) else []
        files = {name for name in names if isinstance(name, str) and Path(name).name == name}
        if not names or len(files) < len(set(map(str, names))):
            raise _bad(index, f"is no list of weight files: its weight_map is {str(listed)[:100]}")
        if any(not name.endswith(".safetensors") for name in files):
            raise pickled(folder)
        found |= {folder / name for name in files}
    if not found:
        raise pickled(folder)
    return sorted(found)


def pickled(folder: Path) -> UnsupportedModel:
    """The refusal of weights that only lie there as a pickle."""
    names = sorted({path.name for pattern in PICKLES for path in folder.glob(pattern)})
    what = ", ".join(names[:3]) or "none"
    return UnsupportedModel(
        f"{folder} holds no weights as safetensors",
        cause=f"weights found: {what}; a pickle can run any code when it is opened, and is never loaded",
        hints=["to convert on a machine that trusts it: load the model there and save_pretrained() it"],
        model=str(folder),
        path=str(folder),
    )


def refuse_fetched_kernels(config: Mapping[str, Any], name: str) -> None:
    """Refuse a config that has transformers fetch compiled code from the Hub (`owner/kernel` as its attention).

    Raises:
        UnsupportedModel: it does.
    """
    for field, value in _fields(config):
        said = list(value.values()) if is_object(value) else [value]
        if field in KERNEL_FIELDS and any(v is True or (isinstance(v, str) and "/" in v) for v in said):
            raise _ForeignCode(
                f"the config of {name} asks for compiled code from elsewhere, which is never run",
                cause=f"{field}: {str(value)[:100]}",
                hints=[f"delete {field} from its config.json"],
                model=name,
                field=field,
            )


def _fields(config: Mapping[str, Any]) -> Iterator[tuple[str, Any]]:
    stack: list[tuple[Mapping[str, Any], int]] = [(config, 0)]
    while stack:
        part, depth = stack.pop()
        for key, value in part.items():
            yield key, value
            if is_object(value) and depth < DEEPEST:
                stack.append((value, depth + 1))


def _document(path: Path) -> dict[str, Any]:
    try:
        found = json.loads(path.read_bytes())
    except (OSError, ValueError, RecursionError):
        return {}
    return found if is_object(found) else {}


def _refuse_pipes(folder: Path) -> None:
    try:
        for path in sorted(folder.iterdir()) if folder.is_dir() else ():
            store.refuse_pipe(path)
    except OSError as error:
        raise _bad(folder, f"cannot be read: {error.strerror or error}") from error


def _check_files(folder: Path, names: tuple[str, ...]) -> None:
    """Refuse JSON files that libraries stumble over, and pipes that they would wait for, with the file's name."""
    _refuse_pipes(folder)
    for name in names:
        path = folder / name
        try:
            if not path.exists():
                if path.is_symlink():
                    raise _bad(path, "is a link to nothing, or to itself")
                continue
            if not path.is_file():
                raise _bad(path, "is not a file")
            size = path.stat().st_size
            if size > (LARGEST_TOKENIZER_BYTES if name == "tokenizer.json" else LARGEST_CONFIG_BYTES):
                raise _bad(path, f"has {size:,} bytes, which no such file has")
            if size == 0:
                raise _bad(path, "is empty")
            if name == "tokenizer.json":
                # large, and the library that reads it says what is wrong with it
                open(path, "rb").close()
                continue
            found: object = json.loads(path.read_bytes())
        except OSError as error:
            raise _bad(path, f"cannot be read: {error.strerror or error}") from error
        except (RecursionError, MemoryError) as error:
            raise _bad(path, "is nested too deeply to be read") from error
        except ValueError as error:
            raise _bad(path, f"is not JSON: {_line(error)}") from error
        if not is_object(found):
            raise _bad(path, f"holds {type(found).__name__}, not a JSON object")


def _translated(load: Callable[[], T], where: Path, what: str) -> T:
    try:
        return load()
    except AdvisorError:
        raise
    except ImportError as error:
        raise UnsupportedModel(
            f"the {what} in {where} needs a package that is not installed", cause=_line(error), model=str(where)
        ) from error
    except Exception as error:
        if _is_about_code(error):
            raise _foreign(where, what) from error
        raise _bad(where, f"holds no {what} that can be loaded: {type(error).__name__}: {_line(error)}") from error
    except BaseException as error:
        # the Rust library's panics are no Exception
        if type(error).__name__ != "PanicException":
            raise
        raise _bad(where, f"holds no {what} that can be loaded: {_line(error)}") from error


def _is_about_code(error: BaseException) -> bool:
    """Whether transformers refused because `trust_remote_code` is off."""
    return "trust_remote_code" in str(error)


def _foreign(where: Path, what: str) -> UnsupportedModel:
    return _ForeignCode(
        f"the {what} in {where} needs Python code from its own folder or from the Hub, which advisor never runs",
        cause="its files name it under auto_map or custom_generate, and the installed transformers has none of its own",
        hints=[
            "use a model whose architecture transformers has",
            "a newer one may have it: pip install -U transformers",
        ],
        model=str(where),
        path=str(where),
    )


def needs_foreign_code(error: AdvisorError) -> bool:
    """Whether a refusal is because code from elsewhere would have had to run."""
    return isinstance(error, _ForeignCode)


def _line(error: BaseException) -> str:
    return next((line.strip() for line in str(error).splitlines() if line.strip()), type(error).__name__)[:300]


def _bad(path: Path, what: str) -> BadFile:
    return BadFile(
        f"{path} {what}",
        hints=["copy or fetch the model's files again"],
        path=str(path),
        reason=what,
    )
