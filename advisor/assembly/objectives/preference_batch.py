"""One micro-batch of a preference objective, as TRL's collators hand it over.

Shapes here: B samples, S tokens of the longest sequence.
Source: trl 1.16, `DataCollatorForPreference` of the DPO and of the reward trainer, `DataCollatorForUnpairedPreference`,
`experimental.utils.DPODataCollatorWithPadding`.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from advisor.domain.request.vocabulary import Objective, Reference

if TYPE_CHECKING:
    import torch

Tokens = Callable[[int, int], "torch.Tensor"]
"""Makes token ids of so many rows and columns."""


def preference_batch(
    objective: Objective, reference: Reference | None, tokens: Tokens, batch: int, length: int, *, padded: bool
) -> dict[str, torch.Tensor]:
    """Inputs of B = `batch` samples whose longest sequence has S = `length` tokens.

    DPO, IPO and reward models: preferred and rejected sequences in one, input_ids[2B,S]. KTO: input_ids[B,S], and the
    same of mismatched answers for its estimate of the divergence. ORPO, CPO and SimPO: both kinds of sequences apart,
    with the prompts, which are taken to be as long: an upper bound of some bytes a token.
    """
    pairs = objective in ("dpo", "ipo", "reward")
    if objective in ("orpo", "cpo", "simpo"):
        return _apart(tokens, batch, length, padded)
    inputs = _sequences(tokens, 2 * batch if pairs else batch, length, padded)
    if objective == "reward":
        del inputs["completion_mask"]
        return inputs
    if objective == "kto":
        mismatched = _sequences(tokens, batch, length, padded)
        inputs |= {f"KL_{name}": tensor for name, tensor in mismatched.items()}
    if reference == "precomputed":
        names = ("ref_logps", "ref_KL_logps") if objective == "kto" else ("ref_chosen_logps", "ref_rejected_logps")
        inputs |= {name: _like(inputs["input_ids"], batch).float() for name in names}
    if objective == "kto":
        inputs["label"] = _halves(inputs["input_ids"], batch)
    return inputs


def _sequences(tokens: Tokens, rows: int, length: int, padded: bool) -> dict[str, torch.Tensor]:
    ids = tokens(rows, length)
    answer = _ones(ids, padded)
    if ids.device.type != "meta":
        # the first token is the prompt: no token is predicted before it
        answer[:, 0] = 0
    return {"input_ids": ids, "attention_mask": _ones(ids, padded), "completion_mask": answer}


def _apart(tokens: Tokens, batch: int, length: int, padded: bool) -> dict[str, torch.Tensor]:
    inputs: dict[str, torch.Tensor] = {}
    for which in ("chosen", "rejected"):
        found = _sequences(tokens, batch, length, padded)
        labels = found["input_ids"].clone()
        inputs |= {f"{which}_input_ids": found["input_ids"], f"{which}_attention_mask": found["attention_mask"]}
        inputs[f"{which}_labels"] = labels
    prompt = tokens(batch, length)
    return {**inputs, "prompt_input_ids": prompt, "prompt_attention_mask": _ones(prompt, False)}


def _ones(ids: torch.Tensor, padded: bool) -> torch.Tensor:
    mask = ids.new_ones(ids.shape)
    if padded and ids.device.type != "meta":
        mask[0, -1] = 0
    return mask


def _like(ids: torch.Tensor, rows: int) -> torch.Tensor:
    return ids.new_zeros(rows)


def _halves(ids: torch.Tensor, rows: int) -> torch.Tensor:
    """Labels [B], every other one good."""
    import torch

    if ids.device.type == "meta":
        return torch.empty(rows, dtype=torch.bool, device="meta")
    return torch.arange(rows, device=ids.device) % 2 == 0
