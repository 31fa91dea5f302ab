# Copyright (c) 2026 The HQG-Net MONAI bundle contributors
# SPDX-License-Identifier: Apache-2.0
"""Settings of MONAI's command line: which are refused, and the configuration that comes of them."""

from __future__ import annotations

import difflib
import importlib
import inspect
import json
import re
import sys
from collections.abc import Mapping, Sequence, Set
from pathlib import Path
from types import FrameType
from typing import Any

import fire.parser
import monai.bundle
from monai.bundle import ConfigParser
from monai.bundle.utils import merge_kv
from monai.utils import ensure_tuple

from .errors import InputError, require
from .files import PLACES
from .former_settings import FORMER_SETTINGS, FORMER_VALUES
from .settings_table import SETTINGS

__all__ = [
    "FORMER_SETTINGS",
    "arguments_of",
    "check_flags",
    "end_command",
    "executed_configuration",
    "executed_settings",
    "handed_over",
    "refuse_unknown",
    "refuse_unknown_settings",
    "refuse_wrong_types",
    "running_parser",
    "tracked_parameters",
]

_OWN = {
    name
    for name, parameter in inspect.signature(monai.bundle.run).parameters.items()
    if parameter.kind is not parameter.VAR_KEYWORD
}

_PLACES = (*PLACES, "hq_data", "model_file", "bundle_root")

_ANY_TEXT = ("input_dir", "dataset_dir")  # read as text, whatever the command line made of it
_SWITCHES = {"shared"}  # of a run: read by its steps, and no name in an expression
_LIKE_A_NAME = re.compile(r"\$[\w ./~+-]*")


def refuse_unknown_settings(arguments: Sequence[str] | None = None, types: bool = False) -> None:
    """Refuse a setting that no configuration file has.

    MONAI takes ``--epoch 5`` for a new value of the configuration, which nothing reads, and training goes on with the
    usual number of epochs. A setting is known when its first part is (``loss_weights`` of
    ``loss_weights#wavelet``): components take further arguments.

    Args:
        arguments: of the command, without the program's name; default those of this process. Nothing is checked unless
            they are those of ``monai.bundle run`` with a configuration file.
        types: whether values of a wrong type are refused as well, see :func:`refuse_wrong_types`.

    Raises:
        InputError: naming the setting and its present name or, where there is one, a similar name.
    """
    if arguments is None:
        arguments = sys.argv[1:] if _is_monais_command() else []
    if not arguments or arguments[0] != "run":
        return
    typed = _texts(arguments)
    given = {**_read_arguments(typed.get("args_file")), **_values(arguments)}
    if given.get("config_file"):
        texts = {name: value for name, value in given.items() if isinstance(value, str)}
        _refuse_places_that_are_rewritten({**texts, **typed})
        settings = {name: value for name, value in given.items() if name not in _OWN}
        configuration = refuse_unknown(given["config_file"], settings)
        if types:
            refuse_wrong_types(configuration, settings)


def _read_arguments(file: str | None) -> dict[str, Any]:
    """Return what stands in MONAI's ``--args_file``."""
    if not file:
        return {}
    require(Path(file).is_file(), f'There is no file "{file}" of arguments: mend --args_file.')
    return dict(ConfigParser.load_config_file(file))


def refuse_unknown(files: str | Sequence[str], given: Mapping[str, Any]) -> ConfigParser:
    """Refuse settings that no configuration file has, see :func:`refuse_unknown_settings`.

    A configuration on top of others is looked at in the same way. It may have new names: runs, and what some expression
    refers to.

    Args:
        files: the configuration files.
        given: settings by name or path, and their values.

    Returns:
        The configuration of the files, for further checks.

    Raises:
        InputError: naming the setting, and the file where it stands in one.
    """
    listed = files.split(",") if isinstance(files, str) and not Path(files).is_file() else files
    names = [str(name) for name in ensure_tuple(listed)]
    contents = list(map(ConfigParser.load_config_file, names))
    referred = _referred(contents) | _SWITCHES
    merged = ConfigParser({})
    for number, (name, content) in enumerate(zip(names, contents, strict=True)):
        if number:
            runs = {setting for setting, value in content.items() if _is_run(value)}
            _refuse(merged, content, f' in "{name}"', referred | runs)
        for setting, value in content.items():
            merge_kv(merged, setting, value)  # as MONAI merges files
    _refuse(merged, given, "", set())
    return merged


def _is_run(value: Any) -> bool:
    """Whether a value is another run, or a list of expressions to be evaluated one after the other."""
    if isinstance(value, str):
        return value.startswith("%")
    return isinstance(value, list) and any(isinstance(step, str) and step.startswith("$") for step in value)


def _referred(content: Any) -> set[str]:
    """Return the names that expressions refer to, as ``@name``, ``%name`` or ``@name#part``."""
    if isinstance(content, Mapping):
        return set().union(*map(_referred, content.values()))
    if isinstance(content, list):
        return set().union(*map(_referred, content))
    return set(re.findall(r"[@%](\w+)", content)) if isinstance(content, str) else set()


def _refuse(parser: ConfigParser, given: Mapping[str, Any], where: str, new: Set[str]) -> None:
    """Refuse settings that this configuration does not have, but for new names."""
    known = set(parser.get())
    for name, value in given.items():
        first, *rest = name.removeprefix("+").replace("::", "#").split("#")
        if value == "transfer" and rest[-1:] == ["warmup_objective"]:
            raise InputError(f"--{name} transfer is now --{name} frozen_task{where}.")
        if first.startswith("_") or (first in new and not rest):
            continue
        if first in known:
            _refuse_unknown_part(parser, [first, *rest], name, where)
        elif FORMER_SETTINGS.get(first, "").split("#")[0] in known:
            path = "#".join([FORMER_SETTINGS[first], *rest])
            meaning = FORMER_VALUES.get((first, value)) if isinstance(value, str) else None
            raise InputError(f"--{name}{where} is now --{path}{f' {meaning}' if meaning else ''}.")
        else:
            similar = difflib.get_close_matches(first, sorted(known), n=1)
            others = ": the configuration files name all that there are."
            hint = f": did you mean --{similar[0]}?" if similar else others
            raise InputError(f"There is no setting --{name}{where}{hint}")


def _refuse_unknown_part(parser: ConfigParser, parts: Sequence[str], name: str, where: str) -> None:
    """Refuse a path through a part that is not there. Its last part may be new: components take further arguments."""
    for number in range(1, len(parts) - 1):
        above, path = "#".join(parts[:number]), "#".join(parts[: number + 1])
        content = parser[above]
        if isinstance(content, Mapping) and path not in parser:
            similar = difflib.get_close_matches(parts[number], sorted(map(str, content)), n=1)
            hint = f": did you mean --{above}#{similar[0]}?" if similar else f": --{above} has no {parts[number]}."
            raise InputError(f"There is no setting --{name}{where}{hint}")


def _refuse_places_that_are_rewritten(given: Mapping[str, str]) -> None:
    """Refuse names of files and folders that the command line, or MONAI, would take for something else.

    Fire drops what follows a ``#``, MONAI turns it into ``::``, and evaluates what begins with ``$``.
    """
    for name, value in given.items():
        if name not in _PLACES or value.startswith("@"):
            continue
        if _LIKE_A_NAME.fullmatch(value):
            raise InputError(f'--{name} "{value}" would be evaluated, since it begins with a $: write "./{value}".')
        if "#" in value and not value.startswith("$"):
            raise InputError(
                f'--{name} "{value}" holds a #, which the command line rewrites: rename it, or use a link.'
            )


def refuse_wrong_types(configuration: ConfigParser, given: Mapping[str, Any]) -> None:
    """Refuse a value of another type than the configuration has: a word in the place of a number, or the reverse.

    Expressions and references (``$``, ``@``, ``%``) are left alone, and so are settings whose default is one, a text or
    null. None is taken for everything but a truth value.

    Args:
        configuration: without these settings, see :func:`refuse_unknown`.
        given: settings by name or path, and their values.

    Raises:
        InputError: naming the setting and what it takes.
    """
    kinds: list[tuple[type | tuple[type, ...], str]] = [
        (bool, "True or False"),
        ((int, float), "a number"),
        (list, "a list"),
        (dict, "a dictionary"),
    ]
    for name, value in given.items():
        default = configuration.get(name)
        kind, words = next(((kind, words) for kind, words in kinds if isinstance(default, kind)), (object, ""))
        is_code = isinstance(value, str) and value.startswith(("$", "@", "%"))
        is_right = isinstance(value, kind) and (kind is bool or not isinstance(value, bool) or kind is object)
        if not is_right and not is_code and (value is not None or kind is bool):
            raise InputError(f"--{name} takes {words}, such as {default}, not {value}.")
        if name in PLACES and name not in _ANY_TEXT and not isinstance(value, str | None):
            raise InputError(f'--{name} {value} is no text for the command line: write "./{value}".')


def check_flags(flags: Mapping[str, Any]) -> None:
    """Refuse a word where True or False is due.

    Args:
        flags: settings by name.

    Raises:
        InputError: naming the settings.
    """
    wrong = [name for name, value in flags.items() if not isinstance(value, bool)]
    require(
        not wrong, f"{', '.join(wrong)}: give True or False, which the command line takes with a capital letter only."
    )


def end_command(status: int) -> int:
    """Give the command ``python -m monai.bundle`` an exit status.

    Args:
        status: of the command; 0 is success.

    Returns:
        The status, in every other program: there a workflow's run returns, whatever became of it.

    Raises:
        SystemExit: in MONAI's command, with the status.
    """
    if _is_monais_command():
        sys.exit(status)
    return status


def running_parser() -> ConfigParser:
    """Return the parser of the configuration in which the calling expression stands.

    MONAI gives an expression (``$...``) the objects that it names, but no name for the whole configuration, which the
    record of a run and the checks of its settings need. The parser is further up on the stack.

    Raises:
        RuntimeError: when the caller was not called by an expression of a configuration.
    """
    frame: FrameType | None = sys._getframe(1)
    while frame is not None:
        parser = frame.f_locals.get("self")
        if isinstance(parser, ConfigParser):
            return parser
        frame = frame.f_back
    raise RuntimeError("No configuration is being evaluated: call this in an expression of one.")


def handed_over(path: str) -> list[Any] | None:
    """Return the list that a program put in the place of an expression of the configuration.

    Args:
        path: of the value, such as ``"train#dataset#data"``.

    Returns:
        The list; None where the value is still an expression.
    """
    value = running_parser()[path]
    return value if isinstance(value, list) else None


def executed_configuration() -> dict[str, Any]:
    """Return the configuration as it runs, overlays and command line included, in plain types."""
    content = {name: value for name, value in running_parser().get().items() if name != "_meta_"}
    plain: dict[str, Any] = json.loads(json.dumps(content, default=str))
    return plain


def executed_settings() -> dict[str, Any]:
    """Return the plain values of the configuration as it runs, by path (``"epochs"``, ``"early_stop#patience"``).

    Expressions, references and lists of components are left out, but for settings of the table, which have their
    values, and for the device, which is given as text.
    """
    parser = running_parser()
    settings: dict[str, Any] = {}

    def collect(path: str, value: Any) -> None:
        if isinstance(value, Mapping):
            for key, part in value.items():
                if not str(key).startswith("_") and key != "imports":
                    collect(f"{path}#{key}" if path else str(key), part)
        elif _is_plain(value):
            settings[path] = value

    collect("", parser.get())
    # Settings that the checks read have values, however they are written: "$None", "$@output_dir + '/models'".
    for path in SETTINGS:
        if path not in settings and path in parser and isinstance(parser[path], str):
            value = parser.get_parsed_content(path)
            if value is None or isinstance(value, (bool, int, float, str, list, tuple)):
                settings[path] = value
    if "device" in parser:
        settings["device"] = str(parser.get_parsed_content("device"))
    return settings


def tracked_parameters(settings: Mapping[str, Any], *components: str) -> dict[str, Any]:
    """Return settings under names that MLflow allows: ``"early_stop.patience"`` for ``"early_stop#patience"``.

    Args:
        settings: of :func:`executed_settings`.
        components: paths of components whose plain arguments are recorded too, with their defaults.
    """
    of_components = {
        f"{component}#{name}": value
        for component in components
        for name, value in arguments_of(component).items()
        if _is_plain(value)
    }
    return {path.replace("::", "#").replace("#", "."): value for path, value in {**of_components, **settings}.items()}


def arguments_of(identifier: str) -> dict[str, Any]:
    """Return the arguments of a component of the configuration, and the defaults of all others.

    Args:
        identifier: path of the component, with ``_target_`` and without positional arguments.
    """
    parser = running_parser()
    module, _, name = parser[identifier]["_target_"].rpartition(".")
    given = {
        key: parser.get_parsed_content(f"{identifier}#{key}") for key in parser[identifier] if not key.startswith("_")
    }
    bound = inspect.signature(getattr(importlib.import_module(module), name)).bind(**given)
    bound.apply_defaults()
    return dict(bound.arguments)


def _is_monais_command() -> bool:
    """Whether this process is ``python -m monai.bundle``."""
    return Path(sys.argv[0]).parts[-3:] == ("monai", "bundle", "__main__.py")


def _is_plain(value: Any) -> bool:
    if isinstance(value, str):
        return not value.startswith(("$", "@", "%"))
    if isinstance(value, (list, tuple)):
        return all(map(_is_plain, value))
    return value is None or isinstance(value, (bool, int, float))


def _values(arguments: Sequence[str]) -> dict[str, Any]:
    """Settings by name, read as the command line reads them."""
    return {name: fire.parser.DefaultParseValue(text) for name, text in _texts(arguments).items()}


def _texts(arguments: Sequence[str]) -> dict[str, str]:
    """Settings by name, as they were typed: ``--name value`` or ``--name=value``."""
    texts: dict[str, str] = {}
    for position, argument in enumerate(arguments):
        if not argument.startswith("--") or len(argument) < 3:
            continue
        name, separator, value = argument[2:].partition("=")
        following = arguments[position + 1] if position + 1 < len(arguments) else ""
        texts[name] = value if separator else following
    return texts
