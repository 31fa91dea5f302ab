# Copyright (c) 2026 The HQG-Net MONAI bundle contributors
# SPDX-License-Identifier: Apache-2.0
"""Networks as a configuration defines them: built from their definition, and written down for others to build."""

from __future__ import annotations

import functools
import json
import logging
from collections.abc import Callable, Mapping
from typing import Any

from monai.bundle import ConfigParser
from torch import nn

from scripts.errors import InputError

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

    None where they cannot be written down: the network is built already, or an argument is no text, number or list.
    """
    if isinstance(definition, functools.partial):
        described = {
            "_target_": f"{definition.func.__module__}.{definition.func.__qualname__}",
            **definition.keywords,
        }
        try:
            restored: dict[str, Any] = json.loads(json.dumps(described))
            return restored
        except (TypeError, ValueError):
            pass
    logger.warning(
        "the downstream network's definition cannot be written into model.json (it needs _mode_: callable, and plain "
        "arguments): whoever uses its weights will have to know it."
    )
    return None


def network_from_description(description: Mapping[str, Any]) -> nn.Module:
    """Return the network, with weights of no meaning, that :func:`describe_definition` described.

    Raises:
        InputError: when it cannot be built.
    """
    try:
        definition = ConfigParser({"network": dict(description)}).get_parsed_content("network")
    except Exception as error:
        raise InputError(f"The network {description.get('_target_')} cannot be built: {error}.") from error
    return build_network(definition)
