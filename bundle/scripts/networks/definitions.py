# Copyright (c) 2026 The HQG-Net MONAI bundle contributors
# SPDX-License-Identifier: Apache-2.0
"""Networks as a configuration defines them: built from their definition, and written down for others to build."""

from __future__ import annotations

import functools
import json
import logging
import pydoc
from collections.abc import Callable, Mapping
from typing import Any

from torch import nn

from ..errors import InputError

__all__ = ["build_network", "describe_definition", "network_from_description"]

logger = logging.getLogger(__name__)

Definition = nn.Module | Callable[[], nn.Module]  # the latter with _mode_: callable


def build_network(definition: Definition) -> nn.Module:
    """Return the network of a definition in a configuration: with ``_mode_: callable`` it is yet to be built.

    Raises:
        InputError: when what is defined is no network.
    """
    network = definition() if callable(definition) and not isinstance(definition, nn.Module) else definition
    if not isinstance(network, nn.Module):
        raise InputError(f"The definition gives a {type(network).__name__}, and a network was wanted.")
    return network


def describe_definition(definition: Definition) -> dict[str, Any] | None:
    """Return the class and arguments of a definition with ``_mode_: callable``, as a configuration has them.

    None where they cannot be written down: the network is built already, its class has no name that others could find
    it by, or an argument is no text, number, list or dictionary of these.
    """
    if isinstance(definition, type):  # without arguments
        definition = functools.partial(definition)
    if isinstance(definition, functools.partial) and isinstance(definition.func, type) and not definition.args:
        kind = definition.func
        described = {"_target_": f"{kind.__module__}.{kind.__qualname__}", **definition.keywords}
        try:
            restored: dict[str, Any] = json.loads(json.dumps(described))
            network_class(restored["_target_"])
            return restored
        except (TypeError, ValueError, InputError):
            pass
    logger.warning(
        "model.json cannot say how the downstream network is built: its definition needs _mode_: callable, a class "
        "that can be imported, and plain arguments. Whoever uses its weights will have to know."
    )
    return None


def network_class(name: str) -> type[nn.Module]:
    """Return the class of that name, with its module.

    Raises:
        InputError: when there is none, or it is no network's.
    """
    found = pydoc.locate(name)
    if not (isinstance(found, type) and issubclass(found, nn.Module)):
        raise InputError(f"{name} is no class of networks that could be imported.")
    return found


def network_from_description(description: Mapping[str, Any]) -> nn.Module:
    """Return the network, with weights of no meaning, that :func:`describe_definition` described.

    Nothing of the description is evaluated, as a configuration's expressions would be: it comes with weights, and those
    come from others.

    Raises:
        InputError: when it cannot be built.
    """
    arguments = {key: value for key, value in description.items() if key != "_target_"}
    kind = network_class(str(description.get("_target_")))
    try:
        return kind(**arguments)
    except Exception as error:
        raise InputError(f"The network {kind.__name__} cannot be built as described: {error}.") from error
