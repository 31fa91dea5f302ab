# Copyright (c) 2026 The HQG-Net MONAI bundle contributors
# SPDX-License-Identifier: Apache-2.0
"""The program ``hqgnet``: the runs of the configurations as commands, and a few that only tell.

Nothing heavy is imported before a command needs it, so that help comes at once.
"""

from __future__ import annotations

import argparse
import importlib
import json
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from .errors import InputError, find_input_error, plain_sentence, require
from .files import PLACES, bundle_root
from .settings_table import SETTINGS
from .start_up import UNUSED, UNUSED_BY_INFERENCE, import_monai
from .version import __version__

__all__ = ["main", "split_settings", "taken_literally"]

ROOT = Path(bundle_root())
CONFIGS = ROOT / "configs"
OUTPUT_DIR = "hqgnet_output"

Settings = dict[str, Any]


class Run(NamedTuple):
    """A run of the configurations.

    Attributes:
        files: configurations, each an overlay on those before it.
        run_id: which of their runs.
    """

    files: tuple[str, ...]
    run_id: str


ENHANCING = Run(("inference.yaml",), "enhancing")
CALIBRATING = Run(("inference.yaml",), "calibrating")
TRAINING = Run(("train.yaml",), "training")
EVALUATING = Run(("train.yaml", "evaluate.yaml"), "evaluating")


class Command(NamedTuple):
    """A command of the program.

    Attributes:
        parser: of its arguments.
        run: does it, and returns the exit status.
        refused: exit status after a mistake of the user.
        settings: whether it takes settings of the configuration as well.
    """

    parser: argparse.ArgumentParser
    run: Callable[[argparse.Namespace, Settings], int]
    refused: int
    settings: bool


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the program.

    Args:
        arguments: without the program's name. Defaults to those of this process.

    Returns:
        The exit status: 0 for success, 1 for failure; of ``enhance`` 1 when some image failed and 2 when all did; 130
        after Ctrl-C.
    """
    if __package__ != "scripts" and (ROOT / "scripts" / "program.py").is_file():
        # Installed with --editable: the configurations of the repository call the package scripts.
        sys.path.insert(0, str(ROOT))
        return int(importlib.import_module("scripts.program").main(arguments))
    is_process = arguments is None
    arguments = sys.argv[1:] if arguments is None else list(arguments)
    parser, commands = _parsers()
    if not arguments or arguments[0] not in commands:
        parser.parse_args(arguments or ["--help"])
        return 0
    command = commands[arguments[0]]
    own, settings = split_settings(arguments[1:], command.parser) if command.settings else (arguments[1:], {})
    options = command.parser.parse_args(own)
    if is_process and arguments[0] != "info" and not _needs_more_of_monai(arguments[0], options, settings):
        import_monai(UNUSED if arguments[0] in ("train", "evaluate") else UNUSED_BY_INFERENCE)
    try:
        return command.run(options, settings)
    except KeyboardInterrupt:
        sys.stderr.write("interrupted\n")
        return 130
    except Exception as error:
        found = find_input_error(error)
        if found is None:
            raise
        sys.stderr.write(f"error: {plain_sentence(found)}\n")
        return command.refused


def _needs_more_of_monai(name: str, options: argparse.Namespace, settings: Settings) -> bool:
    """Whether a run is recorded, or the user's own configuration may ask for any part of MONAI."""
    recorded = settings.get("mlflow", True) if name in ("train", "evaluate") else "tracking_uri" in settings
    return bool(recorded or getattr(options, "overlay", ()))


# ---------------------------------------------------------------------------------------------------------- arguments


def split_settings(arguments: Sequence[str], parser: argparse.ArgumentParser) -> tuple[list[str], Settings]:
    """Part the arguments of a command from settings of the configuration, ``--name value`` or ``--name=value``.

    Args:
        arguments: of the command line.
        parser: of the command's own arguments.

    Returns:
        The command's own arguments, and the settings: numbers, truth values and lists as such, other values as text.
    """
    takes_value = {
        name: action.nargs != 0
        for action in parser._actions  # argparse has no public way to ask
        for name in action.option_strings
    }
    own: list[str] = []
    settings: Settings = {}
    pending = list(arguments)
    while pending:
        argument = pending.pop(0)
        name, separator, value = argument.partition("=")
        if name in takes_value or not argument.startswith("--") or argument == "--":
            own.append(argument)
            if takes_value.get(argument) and pending:
                own.append(pending.pop(0))
            elif name in takes_value and not takes_value[name] and pending[:1] in (["True"], ["False"]):
                own = own if pending.pop(0) == "True" else own[:-1]
            continue
        if not separator:
            value = pending.pop(0) if pending and not pending[0].startswith("--") else "True"
        key = name[2:].replace("-", "_")
        settings[key] = value if key in PLACES else _value(key, value)
    return own, settings


def _value(name: str, text: str) -> Any:
    import fire.parser

    kind = SETTINGS.get(name)
    if text == "none" and kind is not None and not kind.accepts(None):
        return text  # a word of this setting: task none
    truth = {"true": True, "false": False, "none": None, "null": None}
    return truth[text.lower()] if text.lower() in truth else fire.parser.DefaultParseValue(text)


def _parsers() -> tuple[argparse.ArgumentParser, dict[str, Command]]:
    parser = argparse.ArgumentParser(
        prog="hqgnet",
        description="Unpaired enhancement of medical images, guided by high-quality images. Not a medical device.",
        epilog="hqgnet COMMAND --help tells of a command.",
        allow_abbrev=False,
    )
    parser.add_argument("--version", action="version", version=f"hqgnet {__version__}")
    places = parser.add_subparsers(title="commands", metavar="COMMAND")
    commands: dict[str, Command] = {}

    def command(
        name: str, run: Callable[..., int], text: str, refused: int = 1, settings: Run | None = None
    ) -> Callable[..., argparse.Action]:
        own = places.add_parser(
            name,
            help=text[0].lower() + text[1:],
            description=f"{text}.",
            epilog=None if settings is None else _settings_help(settings),
            formatter_class=argparse.RawDescriptionHelpFormatter,
            allow_abbrev=False,
        )
        commands[name] = Command(own, run, refused, settings is not None)
        return own.add_argument

    _add_enhance(command("enhance", _enhance, "Enhance a file, a DICOM series or a tree of studies", 2, ENHANCING))
    _add_training(command("train", _train, "Train on a dataset, and calibrate the report's limits", 1, TRAINING))
    _add_training(command("evaluate", _evaluate, "Measure a trained network on its test images", 1, EVALUATING))
    add = command(
        "calibrate", _calibrate, "Set the limits of the verdicts from images that come out well", 2, CALIBRATING
    )
    add("input_dir", metavar="IN", help="a file, a DICOM series or a folder of them: ten images or more")
    add("model_dir", metavar="MODELS", help="folder of model.pt and model.json, which gets the limits")
    add("--samples", type=int, default=4, metavar="N", help="draws of the guide's cue for the uncertainty (4)")
    add = command("export", _export, "Write a network as TorchScript or ONNX, with its styles")
    add("output", metavar="OUT", help="the file to make: model.onnx, model.ts, or model for both")
    add("--model_dir", metavar="MODELS", help="folder of model.pt and model.json (the network that comes along)")
    add = command("info", _info, "Tell of a network: scaling, styles, calibration; and of versions and device")
    add("--model_dir", metavar="MODELS", help="folder of model.pt and model.json (the network that comes along)")
    add("--json", action="store_true", help="as JSON")
    return parser, commands


def _add_enhance(add: Callable[..., argparse.Action]) -> None:
    add("input_dir", metavar="IN", help="a file, a folder with a DICOM series, or a tree of studies")
    add("output_dir", metavar="OUT", help="folder of the results and of report.html")
    add(
        "--guide",
        metavar="IMAGES_OR_STYLE",
        help="whose look the results get: good images, or a style of `hqgnet info`",
    )
    add(
        "--tone",
        choices=["guide", "source"],
        help="whose brightness results have: the guide's, or that of the image (guide)",
    )
    add("--samples", type=int, metavar="N", help="draws of the guide's cue for a map of uncertainty; 0: no map")
    add("--resume", action="store_true", help="leave out what an earlier run has done")
    add("--device", help="cpu, cuda, cuda:1 (a GPU where there is one)")
    add("--backend", choices=["torch", "compiled", "onnxruntime", "tensorrt"], help="what computes the network (torch)")
    add(
        "--format", dest="output_format", choices=["source", "nifti"], help="of results: nifti turns volumes to .nii.gz"
    )
    add("--model_dir", metavar="MODELS", help="folder of model.pt and model.json (the network that comes along)")
    add("--datalist", metavar="FILE", help="enhance its testing images; paths in it count from IN")


def _add_training(add: Callable[..., argparse.Action]) -> None:
    add("dataset_dir", metavar="DATASET", help="folder with lq/ and hq/, and perhaps labels/ and references/")
    add("output_dir", metavar="OUTPUT", nargs="?", default=OUTPUT_DIR, help=f"folder of the results (./{OUTPUT_DIR})")
    add("--model_dir", metavar="MODELS", help="folder of the weights (OUTPUT/models)")
    add("--datalist", metavar="FILE", help="lists of the images; paths in it count from DATASET")
    add("--overlay", action="append", default=[], metavar="NAME", help="classification, dynunet, or a file of your own")


def _settings_help(run: Run) -> str:
    """Return the settings of a run as its configurations state them."""
    lines = [
        "Any setting of the configuration, by its name or path: --name value, --part#name value. These are named:",
        "",
    ]
    text = (CONFIGS / run.files[0]).read_text(encoding="utf-8")
    named = text[text.index("# ------") : text.index("# =====")]
    lines += [f"  {line}" for line in named.splitlines() if line.strip()]
    return "\n".join(lines)


# ----------------------------------------------------------------------------------------------------- runs as commands


def _enhance(options: argparse.Namespace, settings: Settings) -> int:
    given = {name: value for name, value in vars(options).items() if value not in (None, False)}
    return _run(ENHANCING, {**given, **settings})


def _calibrate(options: argparse.Namespace, settings: Settings) -> int:
    return _run(CALIBRATING, {**vars(options), **settings})


def _train(options: argparse.Namespace, settings: Settings) -> int:
    return _run(TRAINING, *_training_settings(options, settings))


def _evaluate(options: argparse.Namespace, settings: Settings) -> int:
    return _run(EVALUATING, *_training_settings(options, settings))


def _training_settings(options: argparse.Namespace, settings: Settings) -> tuple[Settings, Sequence[str]]:
    given = {name: value for name, value in vars(options).items() if name != "overlay" and value is not None}
    return {**given, **settings}, options.overlay


def _run(run: Run, settings: Settings, overlays: Sequence[str] = ()) -> int:
    """Run a configuration in this process.

    Args:
        run: the run.
        settings: by name or path.
        overlays: further configurations, by name or file; they come before those of the run that are overlays too.

    Returns:
        The exit status: that of the run's last step where it has one, 0 otherwise.
    """
    from monai.bundle import ConfigWorkflow

    from .command_line import refuse_unknown, refuse_wrong_types

    first, *others = (str(CONFIGS / name) for name in run.files)
    files = [first, *map(_overlay, overlays), *others]
    configuration = refuse_unknown(files, settings)
    refuse_wrong_types(configuration, settings)
    workflow = ConfigWorkflow(
        config_file=files,
        meta_file=str(CONFIGS / "metadata.json"),
        logging_file=str(CONFIGS / "logging.conf"),
        run_id=run.run_id,
        workflow_type=None,
        **{name: taken_literally(value) if name in PLACES else value for name, value in settings.items()},
    )
    workflow.initialize()
    results = workflow.run()
    workflow.finalize()
    return results[-1] if results and type(results[-1]) is int else 0


def _overlay(name: str) -> str:
    shipped = CONFIGS / f"{name}.yaml"
    file = Path(name).expanduser() if "." in name or "/" in name else shipped
    require(file.is_file(), f'There is no overlay "{name}": name one of the configurations, or a file.')
    return str(file)


def taken_literally(text: str) -> str:
    """Return a value that MONAI takes for this text, whatever it looks like.

    MONAI replaces every ``#`` in a text, and evaluates those that begin with ``$``, ``@`` or ``%``.
    """
    if "#" not in text and not text.startswith(("$", "@", "%")):
        return text
    return f"$bytes.fromhex('{text.encode('utf-8', 'surrogateescape').hex()}').decode('utf-8', 'surrogateescape')"


# ------------------------------------------------------------------------------------------------- commands that tell


def _model_file(options: argparse.Namespace) -> Path:
    return Path(options.model_dir or ROOT / "models").expanduser() / "model.pt"


def _export(options: argparse.Namespace, settings: Settings) -> int:
    from .exporting import export_onnx, export_torchscript, onnx_package
    from .model_spec import ModelSpec

    model_file, output = _model_file(options), Path(options.output).expanduser()
    ModelSpec.load(model_file)
    files = [output] if output.suffix else [output.with_suffix(suffix) for suffix in (".ts", ".onnx")]
    for file in files:
        require(not file.exists(), f'"{file}" is there already: name another file.')
    if files[-1].suffix == ".onnx":
        onnx_package("onnxscript")
    for file in files:
        try:
            if file.suffix == ".onnx":
                export_onnx(model_file, file)
            else:
                export_torchscript(model_file, file, CONFIGS)
        except OSError as error:
            raise InputError(f'"{file}" cannot be written: {error.strerror or error}.') from error
        print(f"{'ONNX' if file.suffix == '.onnx' else 'TorchScript'}: {file}")
    return 0


def _info(options: argparse.Namespace, settings: Settings) -> int:
    from .model_card import model_card

    card = model_card(_model_file(options))
    if options.json:
        print(json.dumps(card, indent=2))
        return 0
    width = max(map(len, card)) + 2
    for name, value in card.items():
        pairs = [f"{key} {part}" for key, part in value.items()] if isinstance(value, Mapping) else value
        print(f"{name:{width}}{', '.join(map(str, pairs)) if isinstance(pairs, list) else pairs}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
