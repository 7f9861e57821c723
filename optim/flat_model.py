"""A model as one vector: its parameters and its gradients become views into contiguous buffers.

Guarantee: after `bind`, vector and model share their memory. To write one is to write the other, without a
copy. So clipping a gradient is one norm, and a step of SGD is one addition.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from base.clip_groups import ONE_GROUP, ClipGroups
from privacy import LayerLayout
from recipes import ConfigError


def bind(
    module: nn.Module, clip_groups: ClipGroups = ONE_GROUP, *, constant_buffers: bool = False
) -> tuple[LayerLayout, Tensor]:
    """Move the trained parameters of `module` into one float32 vector (layout.size,), on their device.

    Parameters that need no gradient (`optim.trainable.freeze`) are not in the vector. A parameter that
    several layers share is in it once.

    Args:
        module: the model.
        clip_groups: as for `layout_of`.
        constant_buffers: whether the caller makes sure that training changes no buffer. Frozen batch norms in
            evaluation mode are then allowed too.

    Returns:
        The layout, and the vector whose views are now the parameters.

    Raises:
        ValueError: if the module has buffers (they would leave a client without noise) or a BatchNorm, or if
            parameters are not float32, are on several devices, or share storage as different parameters.
        ConfigError: as for `layout_of`.
    """
    _refuse_batch_norm(module, constant_buffers)
    _refuse_buffers(module, constant_buffers)
    _refuse_parameters(module)
    layout = layout_of(module, clip_groups)
    parameters = dict(module.named_parameters())
    vector = torch.empty(layout.size, dtype=torch.float32, device=_device(module))
    for name, view in layout.views(vector).items():
        view.copy_(parameters[name].detach())
        parameters[name].data = view
    return layout, vector


def layout_of(module: nn.Module, clip_groups: ClipGroups = ONE_GROUP) -> LayerLayout:
    """Names and shapes of the trained parameters of `module`: the layout of its vector.

    Args:
        module: the model.
        clip_groups: the run's clip groups. Each is one part of the vector, in the order of the groups; within
            a group, and without groups, the parameters have the order of the module.

    Raises:
        ConfigError: naming a trained parameter that is in no group, or a group without any.
    """
    shapes = {name: tuple(value.shape) for name, value in module.named_parameters() if value.requires_grad}
    try:
        names = clip_groups.ordered(list(shapes))
    except ValueError as error:
        raise ConfigError(f"privacy.clip-groups = {str(clip_groups)!r}: {error}") from error
    return LayerLayout.of((name, shapes[name]) for name in names)


def bind_gradients(module: nn.Module, layout: LayerLayout, memory: Tensor | None = None) -> Tensor:
    """A vector of zeros whose views are the gradients of `module`. Backward passes add to it.

    Args:
        module: the model that was bound.
        layout: its layout.
        memory: shape (d,), float32, on the module's device: the memory to use; by default new memory.
    """
    if memory is None:
        memory = torch.empty(layout.size, dtype=torch.float32, device=_device(module))
    gradients = memory.zero_()
    parameters = dict(module.named_parameters())
    for name, view in layout.views(gradients).items():
        parameters[name].grad = view
    return gradients


def _device(module: nn.Module) -> torch.device:
    """The device of the parameters; the CPU if there are none."""
    devices = {value.device for value in module.parameters()} or {torch.device("cpu")}
    if len(devices) > 1:
        raise ValueError(f"parameters are on {sorted(map(str, devices))}: move the model to one device")
    return devices.pop()


def _refuse_batch_norm(module: nn.Module, frozen_allowed: bool) -> None:
    for name, layer in module.named_modules():
        if not isinstance(layer, nn.modules.batchnorm._BatchNorm):
            continue
        trained = layer.training or any(value.requires_grad for value in layer.parameters())
        if trained or not frozen_allowed:
            raise ValueError(
                f"{name or 'the model'} is a {type(layer).__name__}: its output for an utterance depends on "
                "the others of the batch, and its running statistics are trained outside the clipped "
                "update; use LayerNorm or GroupNorm, or in a pre-trained model let it stay frozen"
            )


def _refuse_buffers(module: nn.Module, constant: bool) -> None:
    """Refuse state that training would change outside the clipped update."""
    buffers = [name for name, _ in module.named_buffers()]
    if buffers and not constant:
        raise ValueError(
            f"the model has buffers ({', '.join(buffers)}): they are trained outside the clipped "
            "update; use layers without running statistics, such as LayerNorm"
        )


def _refuse_parameters(module: nn.Module) -> None:
    for name, value in module.named_parameters():
        if value.dtype != torch.float32:
            raise ValueError(f"parameter {name} is {value.dtype}: the update is one float32 vector")
    owners: dict[int, str] = {}
    for name, value in module.named_parameters():
        if value.data_ptr() and (first := owners.setdefault(value.data_ptr(), name)) != name:
            raise ValueError(f"parameters share storage with others ({name} with {first}): untie them")
