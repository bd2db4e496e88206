"""From what the user calls a model to its definition: local folder, Hub cache, Hub, catalogue, in this order."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from advisor import store
from advisor.catalog.models import hub
from advisor.catalog.models.denoisers import find_denoiser, refuse_denoiser, spec_of_denoiser
from advisor.catalog.models.index import ModelEntry, lookup, unknown
from advisor.catalog.models.spec import same_sizes, spec_of
from advisor.domain.model import ModelSpec
from advisor.errors import BadFile, UnknownName, UnsupportedModel

UNSLOTH_4BIT = {
    "quant_method": "bitsandbytes",
    "load_in_4bit": True,
    "bnb_4bit_quant_type": "nf4",
    "bnb_4bit_use_double_quant": True,
    "bnb_4bit_compute_dtype": "bfloat16",
}
"""The `quantization_config` that repositories of Unsloth named `-bnb-4bit` carry, as one published config.json of
Llama-3-8B has it; a folder's own config decides where there is one."""
WEIGHTS = ("*.safetensors", "pytorch_model*.bin", "*.gguf")
TOKENIZERS = ("tokenizer.json", "tokenizer.model", "spiece.model", "vocab.json", "vocab.txt", "*.gguf")


def resolve_model(name: str, *, denoisers: bool = False) -> ModelSpec:
    """The definition of a model and where it was found; `where` says which, and why nothing nearer was used.

    1. A local folder with a `config.json`, or the path of such a file.
    2. The Hub's cache on this machine: the `config.json` of the cached main revision.
    3. The Hub, unless offline. It is asked once a process whether it answers (1.5 s at most); where it does not,
       that is remembered for ten minutes, so that a catalogue name answers at once on a machine without network.
    4. The catalogue: id or alias, whatever the case; the owner may be left out where only one model is called so.

    Args:
        denoisers: the caller takes diffusion models too, which are the catalogue's alone.

    Raises:
        UnknownName: none of these has it; the field `near` holds names that exist.
        UnsupportedModel: a definition was found that lacks a field every model needs, or is none; a diffusion model
            where those are not taken.
    """
    asked = name
    name = name.strip()
    local = _local(name, asked)
    if local is not None:
        return local
    entry = lookup(name)
    denoiser = find_denoiser(name) if entry is None else None
    if denoiser is not None:
        if denoisers:
            return spec_of_denoiser(denoiser, asked)
        raise refuse_denoiser(denoiser, asked)
    why = "it is no name the Hub could have"
    if hub.is_repo_id(name):
        found = _of_hub(name, asked, entry)
        if isinstance(found, ModelSpec):
            return found
        why = found
    if entry is not None:
        return _of_catalogue(entry, asked, why)
    error = unknown(name)
    error.cause = f"no folder here has that name, the catalogue does not, and {why}"
    error.hints = (*error.hints, "or give a folder with the model's config.json")
    raise error


def tokenizer_folder(spec: ModelSpec) -> Path | None:
    """A local folder with this very model's tokenizer: the model's own, or the Hub cache's; None without one.

    For a catalogue entry both what was asked and the canonical id are looked up, since an alias is the same model.
    """
    folders = [Path(spec.weights)] if spec.weights else []
    if spec.source == "folder":
        folders.append(Path(spec.name))
    else:
        for repo in (spec.asked.strip(), spec.name):
            files = [hub.cached(repo, file) for file in ("tokenizer.json", "tokenizer_config.json", "config.json")]
            folders.extend(file.parent for file in files if file is not None)
    return next((folder for folder in folders if _has(folder, TOKENIZERS)), None)


def _local(name: str, asked: str) -> ModelSpec | None:
    """A folder or config file; None where the name is none, and no path by its looks either."""
    if not name:
        return None
    looks_like_path = name.startswith((".", "/", "~", "\\")) or name.endswith(".json")
    path, folder, file = Path(name), False, False
    try:
        path = path.expanduser()
        folder, file = path.is_dir(), path.is_file()
    except (OSError, ValueError, RuntimeError):
        pass  # too long, a null byte, nobody's home: no path, perhaps a name
    if folder and (path / "config.json").is_file():
        return _read(path / "config.json", str(path), asked, "folder", weights=_weights(path))
    if file and path.suffix == ".json":
        home = path.parent if path.name == "config.json" else None
        label = str(home or path)
        return _read(path, label, asked, "folder", weights=_weights(home) if home else None)
    if folder and (looks_like_path or not hub.is_repo_id(name)):
        raise _no_definition(path)
    if looks_like_path:
        raise UnknownName(
            f"there is no model folder {name}",
            hints=["give a folder with a config.json, a Hub id, or a name listed by: advisor models"],
            kind="model",
            name=name,
            near=[],
        )
    return None


def _no_definition(folder: Path) -> UnsupportedModel:
    adapter, gguf = folder / "adapter_config.json", sorted(folder.glob("*.gguf"))
    hint = "give the folder that holds the model's config.json"
    if (folder / "model_index.json").is_file():
        hint = "its model_index.json is a diffusion pipeline's: give the name of the model it came from"
    elif adapter.is_file():
        hint = "it holds an adapter: give the base model it names, and the file as --adapter-config to advisor estimate"
    elif gguf:
        hint = f"{gguf[0].name} has its definition inside: load it with transformers (gguf_file=) and save the model"
    return UnsupportedModel(
        f"the folder {folder} has no config.json",
        hints=[hint],
        model=str(folder),
        field="config.json",
        where=str(folder),
    )


def _of_hub(repo: str, asked: str, entry: ModelEntry | None) -> ModelSpec | str:
    """From the cache, else the network; or why neither has it."""
    known = _known(entry, repo)
    cached = hub.cached(repo)
    if cached is not None:
        return _with_counts(_read(cached, repo, asked, "hub-cache", weights=_weights(cached.parent), **known), entry)
    path, why = hub.download(repo)
    if path is None:
        return why
    return _with_counts(_read(path, repo, asked, "hub", weights=_weights(path.parent), **known), entry)


def _known(entry: ModelEntry | None, repo: str) -> dict[str, Any]:
    """What the catalogue says of this very repository; an alias may have another licence or gate."""
    if entry is None or entry.id.lower() != repo.lower():
        return {}
    return {"gated": entry.gated, "licence": entry.licence}


def _with_counts(spec: ModelSpec, entry: ModelEntry | None) -> ModelSpec:
    """With the catalogue's parameter count where the definition found has the very sizes of the catalogue's."""
    # by its id: the sizes are wanted, not what an alias stands for
    if entry is None or not same_sizes(spec, _of_catalogue(entry, entry.id, "")):
        return spec
    return spec.model_copy(update={"parameters": entry.parameters})


def _of_catalogue(entry: ModelEntry, asked: str, why: str) -> ModelSpec:
    alias = "" if asked.strip().lower() == entry.id.lower() else ", of which that is another name"
    return spec_of(
        {**entry.load(), **_quantised_alias(asked)},
        name=entry.id,
        asked=asked,
        source="catalogue",
        where=f"catalogue entry {entry.id}{alias}" + (f"; {why}" if why else ""),
        parameters=entry.parameters,
        context_length=entry.context_length,
        gated=entry.gated,
        licence=entry.licence,
    )


def _quantised_alias(asked: str) -> dict[str, Any]:
    """The quantisation that an alias stands for: Unsloth's repositories of 4-bit copies say it in their names.

    Raises:
        UnsupportedModel: one of those that leave layers of their own choice in 16 bits, which the catalogue lacks.
    """
    name = asked.strip().lower()
    if name.endswith("-unsloth-bnb-4bit"):
        raise UnsupportedModel(
            f"{asked.strip()} is quantised to 4 bits but for layers that only its own config.json names",
            cause="the catalogue has the model before quantisation, and the Hub was not read",
            hints=["give the folder of the downloaded model", "or the model before quantisation with --method qlora"],
            model=asked.strip(),
            field="quantization_config",
        )
    return {"quantization_config": UNSLOTH_4BIT} if name.endswith("-bnb-4bit") else {}


def _read(path: Path, name: str, asked: str, source: Any, **known: Any) -> ModelSpec:
    try:
        config = store.read_document(path)
    except BadFile as error:
        raise UnsupportedModel(
            f"the definition of {name} cannot be read", cause=str(error), model=name, field="", where=str(path)
        ) from error
    said = {"folder": f"local file {path}", "hub-cache": "Hub cache", "hub": "the Hub, now in its cache"}[source]
    return spec_of(config, name=name, asked=asked, source=source, where=said, **known)


def _weights(folder: Path) -> str | None:
    return str(folder) if _has(folder, WEIGHTS) else None


def _has(folder: Path, patterns: tuple[str, ...]) -> bool:
    return any(path.is_file() for pattern in patterns for path in folder.glob(pattern))
