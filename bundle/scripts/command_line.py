# Copyright (c) 2026 The HQG-Net MONAI bundle contributors
# SPDX-License-Identifier: Apache-2.0
"""What MONAI's command line lets pass."""

from __future__ import annotations

import difflib
import inspect
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import fire.parser
import monai.bundle
from monai.bundle import ConfigParser

from .errors import InputError

__all__ = ["refuse_unknown_settings"]

_OWN = {
    name
    for name, parameter in inspect.signature(monai.bundle.run).parameters.items()
    if parameter.kind is not parameter.VAR_KEYWORD
}


def refuse_unknown_settings(arguments: Sequence[str] | None = None) -> None:
    """Refuse a setting that no configuration file has.

    MONAI takes ``--epoch 5`` for a new value of the configuration, which nothing reads, and training goes on with the
    usual number of epochs. A setting is known when its first part is (``loss_weights`` of
    ``loss_weights#wavelet``): components take further arguments.

    Args:
        arguments: of the command, without the program's name; default those of this process. Nothing is checked unless
            they are those of ``monai.bundle run`` with a configuration file.

    Raises:
        InputError: naming the setting and, where there is one, a similar name.
    """
    if arguments is None:
        arguments = sys.argv[1:] if Path(sys.argv[0]).parent.name == "bundle" else []
    if not arguments or arguments[0] != "run":
        return
    given = _values(arguments)
    files = given.get("config_file")
    if not files:
        return
    known = set(ConfigParser.load_config_files(files)) | _OWN
    for name in given:
        first = name.replace("::", "#").split("#")[0]
        if first not in known and not first.startswith("_"):
            similar = difflib.get_close_matches(first, sorted(known), n=1)
            hint = (
                f": did you mean --{similar[0]}?" if similar else ": the configuration files name all that there are."
            )
            raise InputError(f"There is no setting --{name}{hint}")


def _values(arguments: Sequence[str]) -> dict[str, Any]:
    """Settings by name, read as the command line reads them: ``--name value`` or ``--name=value``."""
    values: dict[str, Any] = {}
    for position, argument in enumerate(arguments):
        if not argument.startswith("--") or len(argument) < 3:
            continue
        name, separator, value = argument[2:].partition("=")
        following = arguments[position + 1] if position + 1 < len(arguments) else ""
        values[name] = fire.parser.DefaultParseValue(value if separator else following)
    return values
