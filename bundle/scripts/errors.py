# Copyright (c) 2026 The HQG-Net MONAI bundle contributors
# SPDX-License-Identifier: Apache-2.0
"""Errors that users can mend, told in one sentence."""

from __future__ import annotations

import sys
import unicodedata
from collections.abc import Callable, Sequence
from types import TracebackType
from typing import Any

import fire

__all__ = [
    "InputError",
    "find_input_error",
    "first_line",
    "input_error_of",
    "kind_and_reason",
    "named",
    "plain_sentence",
    "require",
    "run_command",
    "show_input_errors_plainly",
    "without_controls",
]


class InputError(ValueError):
    """A mistake in the data, the configuration or a file: the message names the thing and the mend."""


def find_input_error(error: BaseException) -> InputError | None:
    """Search an exception and everything it was raised from (``__cause__``, ``__context__``).

    MONAI's configuration parser and its transforms wrap an exception in a ``RuntimeError``, often several times. The
    sentence for the user is at the bottom of that chain.

    Args:
        error: the exception to search.

    Returns:
        The outermost :class:`InputError`, or None.
    """
    pending: list[BaseException | None] = [error]
    seen: set[int] = set()
    while pending:
        candidate = pending.pop(0)
        if candidate is None or id(candidate) in seen:
            continue
        if isinstance(candidate, InputError):
            return candidate
        seen.add(id(candidate))
        pending += [candidate.__cause__, candidate.__context__]
    return None


def input_error_of(error: BaseException, failure: str) -> InputError:
    """Return the :class:`InputError` in an exception's chain, or a new one that tells what the chain began with.

    Args:
        error: what a library raised, such as MONAI's "applying transform", which hides the cause.
        failure: the beginning of the new sentence, such as ``cannot prepare "a.png"``.
    """
    return find_input_error(error) or InputError(f"{failure}: {kind_and_reason(error)}")


def kind_and_reason(error: BaseException) -> str:
    """Return what an exception was raised from in the end (``__cause__``), as ``KeyError: 'spacing'``."""
    seen = {id(error)}
    while error.__cause__ is not None and id(error.__cause__) not in seen:
        error = error.__cause__
        seen.add(id(error))
    kind = type(error).__name__
    return f"{kind}: {first_line(error)}" if str(error).strip() else kind


def first_line(error: BaseException) -> str:
    """Return the first line of an exception's message; its kind where it has none."""
    return (str(error).strip().splitlines() or [type(error).__name__])[0]


def plain_sentence(error: InputError) -> str:
    """Return the sentence for the user."""
    # A worker process of a DataLoader hands over a whole traceback. Its last line is the sentence.
    last_line = (str(error).strip().splitlines() or ["unknown input error"])[-1]
    return last_line.removeprefix(f"{InputError.__module__}.{InputError.__qualname__}: ")


def named(things: Sequence[object], most: int = 10) -> str:
    """Name things of a kind in a sentence, each in quotes; so many of them, and the number of the others."""
    names = ", ".join(f'"{thing}"' for thing in things[:most])
    return names if len(things) <= most else f"{names} and {len(things) - most} more"


def without_controls(text: str) -> str:
    """Return a text with ``?`` for what would break its line, or what a terminal would obey; it comes from a file."""
    return "".join("?" if unicodedata.category(letter) in ("Cc", "Cs", "Zl", "Zp") else letter for letter in text)


def show_input_errors_plainly(status: int = 1) -> None:
    """Let an uncaught :class:`InputError` end the program with ``error: <sentence>`` in place of a traceback.

    Ctrl-C ends it with ``interrupted`` and status 130. This installs a ``sys.excepthook``. Every other exception goes
    to the previous hook. A second call changes nothing.

    Args:
        status: exit status of the program after an :class:`InputError`.
    """
    previous = sys.excepthook
    if getattr(previous, "shows_input_errors_plainly", False):
        return

    def hook(kind: type[BaseException], error: BaseException, traceback: TracebackType | None) -> None:
        if issubclass(kind, KeyboardInterrupt):
            sys.stderr.write("interrupted\n")
            sys.exit(130)
        input_error = find_input_error(error)
        if input_error is None:
            previous(kind, error, traceback)
        else:
            sys.stderr.write(f"error: {plain_sentence(input_error)}\n")
            sys.stderr.flush()
            if status != 1:
                sys.exit(status)

    hook.shows_input_errors_plainly = True  # type: ignore[attr-defined]
    sys.excepthook = hook


def require(condition: bool, sentence: str) -> None:
    """Refuse a setting unless a condition holds.

    Args:
        condition: the condition.
        sentence: the error and its mend.

    Raises:
        InputError: when the condition does not hold.
    """
    if not condition:
        raise InputError(sentence)


def run_command(command: Callable[..., Any], name: str, arguments: list[str] | None = None) -> None:
    """Run a function as a command; a user's mistake ends it with one sentence and status 1.

    Args:
        command: the function. Its arguments become the options of the command.
        name: name of the command in its help.
        arguments: arguments of the command. Defaults to those of the command line.
    """
    try:
        fire.Fire(command, command=arguments, name=name)
    except InputError as error:
        sys.exit(f"error: {error}")
