# SPDX-License-Identifier: Apache-2.0
"""Widens a trained network: more feature maps, the same function, so that a small network's training is a head start.

Source: T. Chen, I. Goodfellow, J. Shlens, "Net2Net: accelerating learning via knowledge transfer", 2016. Ours: every
width grows by the same whole factor, so that sums and concatenations of feature maps keep their meaning, and copies of
a map share what they pass on by random fractions, weight by weight, so that they part in training.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from facedepth_edge.errors import ConfigError

_LINEAR = (nn.Conv2d, nn.ConvTranspose2d, nn.Linear)
_SPREAD = 0.5  # the copies' shares are drawn within this of 1 and then made to sum to 1
_FIX = "Give a network of the same layers whose widths are all the same whole number of times larger, or start anew."


def widen(small: nn.Module, large: nn.Module, generator: torch.Generator, *, may_grow: bool = False) -> int:
    """Give `large` weights with which it computes what `small` does.

    Convention: map i of a small layer becomes the maps i * factor to (i + 1) * factor - 1 of the large one.

    Args:
        small: The trained network.
        large: A network of the same layers, widths `factor` times larger; changed in place, not at all on an error.
        generator: Draws the copies' shares.
        may_grow: Let `large` have layers of its own, which stay as they are; the function is kept where they begin as
            the identity, which the caller must check.

    Returns:
        The factor; 1 where the widths are the same, and then the weights are too. A stage may keep its width.

    Raises:
        ConfigError: The layers differ, or the widths are not all larger by one whole factor.
    """
    twins, ours = _with_weights(small), _with_weights(large)
    odd = [name for name, module in twins.items() if type(ours.get(name)) is not type(module)]
    odd += [] if may_grow else sorted(set(ours) - set(twins))
    if odd:
        raise ConfigError.of(f"layer {odd[0]}", "another layer, or none", "the layers of the starting network", _FIX)
    factors = {factor: name for name in twins for factor in _factors(name, twins[name], ours[name]) - {1}}
    if len(factors) > 1:
        got = " and ".join(f"{factor} times ({name})" for factor, name in sorted(factors.items()))
        raise ConfigError.of("widths", got, "one factor for all layers", _FIX)
    factor = next(iter(factors), 1)
    with torch.no_grad():
        for name, module in twins.items():
            _copy_layer(module, ours[name], generator)
    return factor


def _with_weights(network: nn.Module) -> dict[str, nn.Module]:
    return {name: module for name, module in network.named_modules() if _own(module)}


def _own(module: nn.Module) -> dict[str, Tensor]:
    return {**dict(module.named_parameters(recurse=False)), **dict(module.named_buffers(recurse=False))}


def _factors(name: str, small: nn.Module, large: nn.Module) -> set[int]:
    """Return how many times wider each axis of a layer's tensors is; a kernel's sides are no widths."""
    before, after = _own(small), _own(large)
    if before.keys() != after.keys():
        raise ConfigError.of(f"layer {name}", f"the parts {sorted(after)}", f"{sorted(before)}", _FIX)
    if _fixed(small) != _fixed(large):
        raise ConfigError.of(f"layer {name}", f"{_fixed(large)}", f"{_fixed(small)}", _FIX)
    groups = getattr(large, "groups", 1)
    if groups != getattr(small, "groups", 1) and not _depthwise(small, large):
        raise ConfigError.of(f"layer {name}", f"{groups} groups", "as many groups as maps, or as before", _FIX)
    found = set()
    for key, tensor in after.items():
        new, old = tuple(tensor.shape), tuple(before[key].shape)
        fits = len(new) == len(old) and new[2:] == old[2:] and not any(n % o for n, o in zip(new, old, strict=True))
        if not fits:
            raise ConfigError.of(f"layer {name}, {key}", f"shape {new}", f"a whole number of times {old}", _FIX)
        found |= {n // o for n, o in zip(new, old, strict=True)}
    return found


def _fixed(layer: nn.Module) -> dict[str, object]:
    names = ("kernel_size", "stride", "padding", "output_padding", "dilation", "pixels_per_map")
    return {name: getattr(layer, name) for name in names if hasattr(layer, name)}


def _depthwise(small: nn.Module, large: nn.Module) -> bool:
    convolutions = isinstance(small, nn.Conv2d) and isinstance(large, nn.Conv2d)
    return convolutions and small.groups == small.in_channels and large.groups == large.in_channels


def _copy_layer(small: nn.Module, large: nn.Module, generator: torch.Generator) -> None:
    before = _own(small)
    for key, tensor in _own(large).items():
        old = before[key]
        if tensor.ndim > 1 and isinstance(large, _LINEAR):
            outputs, inputs = (1, 0) if isinstance(large, nn.ConvTranspose2d) else (0, 1)
            old = old.repeat_interleave(tensor.shape[outputs] // old.shape[outputs], dim=outputs)
            tensor.copy_(_shared(old, inputs, tensor.shape[inputs], getattr(large, "pixels_per_map", 1), generator))
        elif tensor.ndim == 1:
            tensor.copy_(old.repeat_interleave(len(tensor) // len(old)))
        else:
            tensor.copy_(old)


def _shared(weight: Tensor, dim: int, wanted: int, pixels: int, generator: torch.Generator) -> Tensor:
    """Split every weight among the copies of its input map.

    Args:
        weight: The weights.
        dim: The axis of the inputs.
        wanted: Inputs of the wider layer.
        pixels: Inputs that belong to one map, next to each other: 1, or its pixels where maps were flattened.
        generator: Draws the shares.
    """
    copies = wanted // weight.shape[dim]
    if copies == 1:
        return weight
    apart = weight.unflatten(dim, (-1, 1, pixels))
    shape = [*apart.shape]
    shape[dim + 1] = copies
    shares = 1 + _SPREAD * (2 * torch.rand(shape, generator=generator, dtype=weight.dtype) - 1)
    shares /= shares.sum(dim=dim + 1, keepdim=True)
    return (apart * shares).flatten(dim, dim + 2)
