"""peft's adapters on a model without data: what initialisation computes from weights is replaced by its shape.

Most methods of peft attach to a meta model unchanged. The rest read weight values (K-means, joint
decompositions, sparse masks), draw permutations of every weight, or put values into tensors of another
device. Each is dealt with by name below; the number, shape, dtype and device of all tensors are what a real
run has. What a real run leaves on the CPU stays a CPU tensor here, of the same shape over one element of
storage (stride 0), so that copying it to the device is seen and costs no memory. `tests/assembly/test_attach.py`
holds every method's tensors equal to those of a real attachment.
"""

# pyright: reportUnknownMemberType=false
# peft's layers name only some of their methods' types

from __future__ import annotations

from collections.abc import Callable, Generator, Iterator
from contextlib import ExitStack, contextmanager
from importlib.util import find_spec
from typing import Any, cast
from unittest.mock import patch

import torch
from torch import nn

from advisor.assembly.adapters import module_search as layers


def host_stand_in(*shape: int, dtype: torch.dtype = torch.float32) -> torch.Tensor:
    """A CPU tensor of any size over one element of storage: for data that a real run keeps on the CPU."""
    return torch.zeros((1,) * len(shape), dtype=dtype).expand(*shape)


@contextmanager
def meta_safe() -> Generator[None]:
    """While open, peft can attach any of its methods to a model on the meta device."""
    from transformers import initialization

    with ExitStack() as stack:
        for target, name, replacement in _replacements():
            stack.enter_context(patch.object(target, name, replacement))
        # transformers keeps its own references to the same functions, for models that peft builds itself
        stack.enter_context(patch.dict(initialization.TORCH_INIT_FUNCTIONS, dict.fromkeys(_FILLS, _unfilled)))
        yield


def _packed_copy(weight: Any, memo: Any) -> Any:
    """A copy of a packed weight, which DoRA takes of each layer: bitsandbytes begins with one on the CPU."""
    return type(weight)(
        torch.empty_like(weight.data), requires_grad=False, quant_state=weight.quant_state,
        blocksize=weight.blocksize, compress_statistics=weight.compress_statistics, quant_type=weight.quant_type,
        quant_storage=weight.quant_storage, bnb_quantized=weight.bnb_quantized,
    )  # fmt: skip


def _replacements() -> Iterator[tuple[Any, str, Callable[..., Any]]]:
    from peft.tuners.adamss import layer as adamss
    from peft.tuners.boft import layer as boft
    from peft.tuners.frod import layer as frod
    from peft.tuners.frod import model as frod_model
    from peft.tuners.lora import monteclora
    from peft.tuners.lora.layer import LoraLayer
    from peft.tuners.lora.variants import KasaLinearVariant, MontecloraLinearVariant
    from peft.tuners.shira import layer as shira

    yield torch, "randperm", _permutation
    yield torch, "svd_lowrank", _svd_lowrank(torch.svd_lowrank)
    for name in _FILLS:
        yield nn.init, name, _unfilled
    for name in ("zeros_", "ones_", "constant_"):
        yield nn.init, name, _filled_if_small(getattr(nn.init, name))
    yield adamss, "clustering_Z", _even_clusters
    yield boft.BOFTLayer, "update_layer", _boft_linear(cast("Callable[..., None]", boft.BOFTLayer.update_layer))
    yield boft.BOFTLayer, "perm2mat", _permutation_matrix
    yield frod_model.FrodModel, "_init_frod_projections", _frod_projections
    yield frod.FrodLayer, "_calculate_frod_u_and_lambda", _frod_factors
    yield shira.ShiraLayer, "update_layer", _shira_layer(cast("Callable[..., None]", shira.ShiraLayer.update_layer))
    yield KasaLinearVariant, "init", staticmethod(_kasa_at_once(KasaLinearVariant.init))
    yield (
        monteclora.BufferedMontecloraSampler,
        "__init__",
        _sample_buffer(monteclora.BufferedMontecloraSampler.__init__),
    )
    yield LoraLayer, "orthogonal_init", _even_ranks_only(cast("Callable[..., None]", LoraLayer.orthogonal_init))
    if find_spec("bitsandbytes") is not None:
        from bitsandbytes.nn.modules import Params4bit

        yield Params4bit, "__deepcopy__", _packed_copy
    yield MontecloraLinearVariant, "init", staticmethod(_sampler_at_once(MontecloraLinearVariant))
    for name in ("pissa_init", "corda_init", "olora_init", "loftq_init", "lora_ga_init", "mica_init"):
        yield LoraLayer, name, _values_only(getattr(LoraLayer, name))


_FILLS = (
    "uniform_",
    "normal_",
    "trunc_normal_",
    "kaiming_uniform_",
    "kaiming_normal_",
    "xavier_uniform_",
    "orthogonal_",
)


def _unfilled(tensor: torch.Tensor, *_: Any, **__: Any) -> torch.Tensor:
    """For random fills: values drawn on the CPU would be thrown away when the tensor moves to meta."""
    return tensor


_SMALL = 4096


def _filled_if_small(original: Callable[..., torch.Tensor]) -> Callable[..., torch.Tensor]:
    """Constants of large tensors are thrown away likewise; small ones may be counters that somebody reads."""

    def fill(tensor: torch.Tensor, *args: Any, **kwargs: Any) -> torch.Tensor:
        return original(tensor, *args, **kwargs) if tensor.numel() <= _SMALL else tensor

    return fill


def _svd_lowrank(original: Callable[..., Any]) -> Callable[..., Any]:
    def svd_lowrank(matrix: torch.Tensor, q: int = 6, niter: int = 2, M: Any = None) -> Any:
        if matrix.device.type != "meta":
            return original(matrix, q=q, niter=niter, M=M)
        rows, columns = matrix.shape[-2:]
        return matrix.new_empty(rows, q), matrix.new_empty(q), matrix.new_empty(columns, q)

    return svd_lowrank


def _permutation(n: int, **_: Any) -> torch.Tensor:
    """For torch.randperm: valid indices of the right number, on the CPU as there; drawing n of them takes seconds."""
    return host_stand_in(n, dtype=torch.int64)


def _even_clusters(vectors: torch.Tensor, num_subspaces: int, iternum: int) -> tuple[torch.Tensor, int]:
    """For AdaMSS's K-means: clusters of equal size. The trainable count does not depend on their sizes."""
    rows = vectors.shape[0]
    count = min(num_subspaces, rows)
    return torch.arange(rows) * count // rows, count


def _boft_linear(original: Callable[..., None]) -> Callable[..., None]:
    def update_layer(self: Any, adapter_name: str, config: Any, **kwargs: Any) -> None:
        with torch.device("meta"):
            original(self, adapter_name, config=config, **kwargs)
        dtype = self.get_base_layer().weight.dtype
        for held in (self.boft_R, self.boft_s):
            held[adapter_name] = nn.Parameter(held[adapter_name].to(dtype))
        # a real run never moves the permutation: each forward copies it from the CPU
        self.boft_P = host_stand_in(*self.boft_P.shape)

    return update_layer


def _permutation_matrix(self: Any, indices: torch.Tensor) -> torch.Tensor:
    return torch.empty(len(indices), len(indices), device="meta")


def _private(module: Any, name: str) -> Any:
    """A function peft keeps to itself but whose answer its own set-up depends on."""
    return getattr(module, name)


def _frod_projections(self: Any, config: Any, adapter_name: str) -> None:
    """For FRoD's joint decomposition: one [I, I] basis and the sparse positions a projection category, on the CPU."""
    from peft.tuners import tuners_utils
    from peft.tuners._buffer_dict import BufferDict
    from peft.tuners.frod import model as frod

    category_of = _private(frod, "_category_from_key")
    model_config = self.get_model_config(self.model)
    peft_config = _private(tuners_utils, "_maybe_include_all_linear_layers")(
        self._prepare_adapter_config(config, model_config), self.model
    )
    if not hasattr(self, "frod_V"):
        self.frod_V, self.frod_s_indices, self.frod_s_size = nn.ModuleDict(), nn.ModuleDict(), nn.ModuleDict()
    for key, module in self.model.named_modules():
        category = category_of(key)
        if not layers.is_linear(module) or category in self.frod_V:
            continue
        if not self._check_target_module_exists(peft_config, key):
            continue
        width = layers.widths(module)[0]
        count = min(int(width * width * config.sparse_rate), width * (width - 1))
        count = max(1, count) if config.sparse_rate > 0 and width > 1 else count
        tensors = (
            (self.frod_V, host_stand_in(width, width, dtype=module.weight.dtype)),
            (self.frod_s_indices, host_stand_in(2, count, dtype=torch.int64)),
            (self.frod_s_size, torch.tensor([width, width])),
        )
        for held, tensor in tensors:
            kept = BufferDict({}, persistent=config.save_projection)
            kept[adapter_name] = tensor
            held[category] = kept


def _frod_factors(self: Any, basis: torch.Tensor, weight: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    # in the weight's dtype at once: the caller's cast would otherwise make each stand-in a tensor of full size
    return host_stand_in(*weight.shape, dtype=weight.dtype), torch.zeros(weight.shape[1])


def _shira_layer(original: Callable[..., None]) -> Callable[..., None]:
    def update_layer(
        self: Any, adapter_name: str, mask: torch.Tensor | None, r: int, config: Any, **kwargs: Any
    ) -> None:
        original(self, adapter_name, None, r, config, **kwargs)
        if mask is not None:
            trained = self.shira_weight[adapter_name].shape[0]
            self.shira_indices[adapter_name] = torch.empty(2, trained, dtype=torch.int32, device=mask.device)

    return update_layer


def _kasa_at_once(original: Callable[..., None]) -> Callable[..., None]:
    """KaSA cuts the base weight's values at the first forward on meta, and refuses where they are missing still."""

    def init(module: Any, adapter_name: str, config: Any, **kwargs: Any) -> None:
        original(module, adapter_name, config, **kwargs)
        module._lora_kasa_truncation_deferred.discard(adapter_name)

    return init


def _sampler_at_once(variant: Any) -> Callable[..., None]:
    """MonteCLoRA leaves its trained sampler out of a meta adapter until the first forward."""
    original, create = variant.init, variant._create_sampler

    def init(module: Any, adapter_name: str, config: Any, **kwargs: Any) -> None:
        original(module, adapter_name, config, **kwargs)
        samplers = module.lora_monteclora_sampler
        if adapter_name not in samplers:
            samplers[adapter_name] = create(module, adapter_name, config.monteclora_config)

    return init


def _sample_buffer(original: Callable[..., None]) -> Callable[..., None]:
    """MonteCLoRA's stock of random samples, drawn in advance and kept where A is; its Wishart draws need values."""

    def init(self: Any, model: Any, buffer_size: int = 150, device: Any = None) -> None:
        if str(device) != "meta":
            original(self, model, buffer_size=buffer_size, device=device)
            return
        self.model, self.device, self.buffer_size, self.index = model, device, buffer_size, 0
        size: dict[str, Any] = {"device": "meta", "dtype": model.dtype}
        normal = torch.empty(buffer_size, model.num_samples, model.in_features, model.out_features, **size)
        weights = torch.empty(buffer_size, model.num_samples, **size)
        self.buffer = [
            {"z_mvn": z, "z_wishart": torch.empty(model.out_features, model.out_features, **size), "z_dirichlet": w}
            for z, w in zip(normal, weights, strict=True)
        ]

    return init


def settle_forward(attached: nn.Module) -> None:
    """Let a forward pass over a meta model take the usual path where peft would branch on values.

    VB-LoRA asks each layer whether its logits are infinite; the question is asked, its answer not used. aLoRA
    searches every sample for its invocation tokens; it is taken to act on the whole of each, an upper bound. CPT
    weighs the tokens of one sample after another, a dozen tiny ops each; those of one sample are counted.
    """
    config: Any = getattr(attached, "peft_config", {}).get("default")
    if getattr(config, "alora_invocation_tokens", None):
        attached.register_forward_pre_hook(_act_everywhere, with_kwargs=True)
    if hasattr(config, "cpt_tokens_type_mask"):
        _weigh_one_sample(attached)
    for module in attached.modules():
        if hasattr(module, "vblora_logits_A"):
            _ask_unheard(module)


def _act_everywhere(model: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
    ids = args[0] if args else kwargs.get("input_ids")
    if ids is None or ids.device.type != "meta":
        return None
    samples, length = ids.shape
    return args, {**kwargs, "alora_offsets": [length] * samples}


def _weigh_one_sample(attached: Any) -> None:
    from peft.tuners.cpt.model import CPTEmbedding

    original = attached.forward

    def forward(*args: Any, **kwargs: Any) -> Any:
        with patch.object(CPTEmbedding, "calculate_loss", staticmethod(_cpt_loss)):
            return original(*args, **kwargs)

    attached.forward = forward


def _cpt_loss(output: Any, labels: torch.Tensor, kinds: torch.Tensor, config: Any) -> Any:
    """CPT's loss with the tensors of peft's; output.logits[B,S,V], labels[B,S], kinds[B,S] (every fourth a label)."""
    logits = output.logits[..., :-1, :].contiguous()
    labels = labels[..., 1:].contiguous()
    kinds = kinds[..., 1:].contiguous()
    heard = (labels.clone() != -100).bool()
    each = nn.functional.cross_entropy(logits.flatten(0, 1), labels.flatten(), reduction="none").view(labels.shape)
    weights = heard.clone().float()
    own = kinds[0]
    _ = own[(own > 0) & (own % 4 == 0)]
    decay = torch.ones_like(own).float()
    for kind in own.new_empty(len({k for k in config.cpt_tokens_type_mask if k > 0 and k % 4 == 0})).flip(0):
        decay[own == kind] = 1.0
    if config.opt_weighted_loss_type == "decay":
        weights[0] *= decay
    output.loss = (each[heard] * weights[heard]).mean()
    return output


def _ask_unheard(layer: Any) -> None:
    original = layer._get_lora_matrices

    def matrices(adapter: str, cast_to_fp32: bool = False) -> Any:
        training = layer.training
        if training:
            layer.vblora_logits_A[adapter][0, 0].isinf().any().item()
        layer.training = False
        try:
            return original(adapter, cast_to_fp32)
        finally:
            layer.training = training

    layer._get_lora_matrices = matrices


def _even_ranks_only(original: Callable[..., None]) -> Callable[..., None]:
    """Orthogonal rows are new values of the same shape; what peft refuses stays refused."""
    values_only = _values_only(original)

    def init(self: Any, adapter_name: str) -> None:
        (original if self.r[adapter_name] % 2 else values_only)(self, adapter_name)

    return init


def _values_only(original: Callable[..., None]) -> Callable[..., None]:
    """For inits that set A, B and the base weight to new values of the same shape and, after peft's casts, dtype."""

    def init(self: Any, *args: Any, **kwargs: Any) -> None:
        if self.get_base_layer().weight.device.type != "meta":
            original(self, *args, **kwargs)

    return init
