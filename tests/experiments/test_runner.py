# Copyright (c) 2026 The HQG-Net MONAI bundle contributors
# SPDX-License-Identifier: Apache-2.0
"""Which trainings the runner starts, and when again: with a stand-in that leaves files where training would."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
from tests.experiments.recorded_commands import RecordedCommands

from scripts.errors import InputError, run_command
from scripts.experiments import runner
from scripts.experiments.jobs import BUNDLE, run_logged
from scripts.experiments.runner import DownstreamRun


class StandIn(RecordedCommands):
    """Does what the commands do to the files, and keeps the commands."""

    def __init__(self, check: int = 0, leaves_network: bool = True) -> None:
        super().__init__()
        self.check = check
        self.leaves_network = leaves_network

    def __call__(self, command: list[str], log: Path) -> int:
        self.commands.append(command)
        run_id = command[4]
        if run_id == "checking":
            log.write_text("no labels" if self.check else "all is well")
            return self.check
        if run_id == "downstream":
            report = Path(self.value(command, "--output_dir"), "downstream", "downstream.md")
            report.parent.mkdir(exist_ok=True)
            report.write_text("the tables")
            return 0
        folder = Path(self.value(command, "--model_dir"))
        resumes = "--resume" in command
        log.write_text(f"resume {resumes}")
        checkpoint = folder / "checkpoint.pt"
        trained = checkpoint.read_text() if checkpoint.exists() else ""
        if resumes and trained.count("trained") >= 2:
            log.write_text("it has been trained for 18 epochs already")
            return 1
        checkpoint.write_text(trained + "trained ")
        if self.leaves_network and "--pause_after" not in command:
            (folder / "model.pt").touch()
        return 0

    @property
    def trainings(self) -> list[list[str]]:
        return self.of("training")


@pytest.fixture
def data(tmp_path: Path) -> Path:
    folder = tmp_path / "data"
    folder.mkdir()
    (folder / "datalist.json").write_text('{"training_lq": []}')
    return folder


def run(data: Path, stand_in: StandIn | None = None, **arguments: Any) -> StandIn:
    stand_in = stand_in or StandIn()
    settings = {"seeds": [0], "arms": ["separate", "unrolled"], **arguments}
    DownstreamRun(data, data.parent / "out", execute=stand_in, **settings).run()
    return stand_in


def arm(data: Path, name: str) -> Path:
    return data.parent / "out" / "arms" / name / "seed0"


def test_bilevel_arms_share_their_warm_up_and_all_are_trained_once(
    data: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    arms = ["separate", "first_order", "unrolled"]
    done = run(data, arms=arms)
    assert len(done.trainings) == 4
    assert sum("--pause_after" in command for command in done.trainings) == 1
    for name in ("first_order", "unrolled"):
        (command,) = [command for command in done.trainings if name in command]
        assert StandIn.value(command, "--resume") == "True"
        assert (arm(data, name) / "checkpoint.pt").read_text().count("trained") == 2
    assert (arm(data, "separate") / "checkpoint.pt").read_text().count("trained") == 1
    assert all(StandIn.value(command, "--calibrates") == "False" for command in done.trainings)
    assert [command[4] for command in done.commands if command[4] != "training"] == [
        "checking",
        "downstream",  # of the seed
        "downstream",  # the tables
    ]
    assert "the tables" in capsys.readouterr().out
    assert run(data, arms=arms).trainings == []


@pytest.mark.parametrize(("name", "weight"), [("frozen_alone", "task_weight"), ("s_alone", "frozen_task_weight")])
def test_one_kind_of_network_alone_is_served_by_an_arm_that_shares_the_warm_up(
    data: Path, name: str, weight: str
) -> None:
    done = run(data, arms=[name])
    warmup, training = done.trainings
    assert "--pause_after" in warmup
    assert StandIn.value(training, "--hypergradient") == "first_order"
    assert StandIn.value(training, f"--bilevel#settings#{weight}") == "0"
    assert not any("task_weight" in word for word in warmup)


@pytest.mark.parametrize("settings", [["--warmup_epochs", "0"], ["--warmup_epochs=0", "--epochs", "3"]])
def test_without_a_warm_up_there_is_none_to_share(data: Path, settings: list[str]) -> None:
    done = run(data, settings=settings)
    assert len(done.trainings) == 2
    assert not any("--pause_after" in command for command in done.trainings)


def test_an_interrupted_training_goes_on(data: Path) -> None:
    run(data)
    folder = arm(data, "unrolled")
    # Before its first epoch, after some, after the last: the last one has nothing left to train.
    for text in (None, "trained ", "trained trained "):
        for file in (folder / ".trained", folder / "checkpoint.pt"):
            file.unlink()
        if text is not None:
            (folder / "checkpoint.pt").write_text(text)
        assert len(run(data).trainings) == 1
        assert (folder / "checkpoint.pt").read_text().count("trained") == 2
        assert (folder / ".trained").is_file()
    assert "already" in (folder / "log.txt").read_text()
    assert "resume True" in (folder / "log-before.txt").read_text()


def test_results_of_other_settings_or_data_are_not_resumed_from(data: Path) -> None:
    run(data)
    (arm(data, "separate") / "downstream.pt").touch()
    assert len(run(data, settings=["--epochs", "7"]).trainings) == 3
    assert (arm(data, "separate") / "checkpoint.pt").read_text().count("trained") == 1
    assert not (arm(data, "separate") / "downstream.pt").exists()
    (data / "datalist.json").write_text('{"training_lq": [{"image": "another.png"}]}')
    assert len(run(data, settings=["--epochs", "7"]).trainings) == 3


def test_a_seed_is_compared_once_its_arms_are_trained_and_again_where_that_has_changed(data: Path) -> None:
    def seeds(done: StandIn) -> list[str]:
        return [StandIn.value(command, "--seeds") for command in done.commands if command[4] == "downstream"]

    done = run(data, seeds=[0, 1], arms=["separate"], jobs=1)
    assert [StandIn.value(command, "--seed") for command in done.trainings] == ["0", "1"]
    assert sorted(seeds(done)) == ["[0, 1]", "[0]", "[1]"]
    assert seeds(done)[-1] == "[0, 1]"
    assert seeds(run(data, seeds=[0, 1], arms=["separate"])) == ["[0, 1]"]
    # Another arm, other settings of the comparison, and a training that was done anew.
    assert sorted(seeds(run(data, seeds=[0, 1], arms=["separate", "unrolled"]))) == ["[0, 1]", "[0]", "[1]"]
    compared = {"seeds": [0, 1], "arms": ["separate"], "compare_settings": ["--downstream_steps", "3"]}
    assert sorted(seeds(run(data, **compared))) == ["[0, 1]", "[0]", "[1]"]
    (arm(data, "separate") / ".trained").unlink()
    assert sorted(seeds(run(data, **compared))) == ["[0, 1]", "[0]"]


def test_settings_that_are_refused_cost_no_results(data: Path) -> None:
    run(data)
    with pytest.raises(InputError, match="no labels"):
        run(data, StandIn(check=1), settings=["--epcohs", "7"])
    assert (arm(data, "separate") / "model.pt").is_file()
    assert run(data).trainings == []


def test_results_without_a_record_are_neither_trusted_nor_left_unchecked(data: Path) -> None:
    run(data)
    (data.parent / "out" / "settings.json").unlink()
    (data.parent / "out" / ".checked").touch()  # as the makefile of earlier versions left it
    with pytest.raises(InputError, match="no labels"):
        run(data, StandIn(check=1), settings=["--epcohs", "7"])
    assert (arm(data, "separate") / "model.pt").is_file()
    assert len(run(data, settings=["--epochs", "7"]).trainings) == 3


def test_no_files_but_those_of_the_trainings_are_removed(data: Path) -> None:
    run(data)
    other = data.parent / "out" / "models" / "model.pt"
    other.parent.mkdir()
    other.touch()
    assert len(run(data, settings=["--epochs", "7"]).trainings) == 3
    assert other.is_file()


def test_arms_and_seeds_named_twice_are_trained_once(data: Path) -> None:
    assert len(run(data, arms=["separate", "separate"], seeds=[0, 0]).trainings) == 1


@pytest.mark.parametrize("text", ["0 1", "0,1", "[0, 1]"])
def test_seeds_are_read_with_blanks_or_commas(data: Path, monkeypatch: pytest.MonkeyPatch, text: str) -> None:
    found: list[DownstreamRun] = []
    monkeypatch.setattr(DownstreamRun, "run", lambda self: found.append(self))
    run_command(runner.runner, "runner.py", [f"--data={data}", f"--output={data}", f"--seeds={text}"])
    assert found[0].seeds == (0, 1)


@pytest.mark.parametrize("text", ["separate unrolled", "separate,unrolled", "['separate', 'unrolled']"])
def test_arms_are_read_with_blanks_or_commas(data: Path, monkeypatch: pytest.MonkeyPatch, text: str) -> None:
    found: list[DownstreamRun] = []
    monkeypatch.setattr(DownstreamRun, "run", lambda self: found.append(self))
    run_command(runner.runner, "runner.py", [f"--data={data}", f"--output={data}", f"--arms={text}"])
    assert found[0].arms == ("separate", "unrolled")


@pytest.mark.parametrize(
    ("argument", "message"), [("--seeds=one", "--seeds are whole"), ("--settings=--window 'no", "quotation mark")]
)
def test_arguments_that_cannot_be_read_are_told(data: Path, argument: str, message: str) -> None:
    with pytest.raises(SystemExit, match=f"error: .*{message}"):
        run_command(runner.runner, "runner.py", [f"--data={data}", f"--output={data}", argument])


def test_apostrophes_in_settings_are_those_of_a_shell(data: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    found: list[DownstreamRun] = []
    monkeypatch.setattr(DownstreamRun, "run", lambda self: found.append(self))
    settings = "--settings=--window '$None' --name \"it's\""
    run_command(runner.runner, "runner.py", [f"--data={data}", f"--output={data}", settings])
    assert found[0].settings == ["--window", "$None", "--name", "it's"]


def test_a_failing_check_is_told_before_any_training(data: Path) -> None:
    stand_in = StandIn(check=1)
    with pytest.raises(InputError, match="no labels"):
        run(data, stand_in)
    assert stand_in.trainings == []


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"arms": ["first_ordr"]}, "The arms are separate, .* not first_ordr"),
        ({"arms": []}, "one arm"),
        ({"seeds": []}, "one seed"),
        ({"jobs": 0}, "--jobs"),
    ],
)
def test_wrong_arguments_are_refused(data: Path, arguments: dict[str, Any], message: str) -> None:
    with pytest.raises(InputError, match=message):
        run(data, **arguments)


def test_missing_data_are_told(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r'no ".*datalist.json"'):
        DownstreamRun(tmp_path / "nowhere", tmp_path / "out")


def test_a_training_that_leaves_no_network_is_told(data: Path) -> None:
    with pytest.raises(InputError, match=r"the training left no model\.pt"):
        run(data, StandIn(leaves_network=False), arms=["separate"])


def test_it_is_told_in_a_folder_called_warmup_too(data: Path) -> None:
    moved = data.rename(data.parent / "warmup") / "data"
    moved.mkdir()
    (moved / "datalist.json").write_text("{}")
    with pytest.raises(InputError, match=r"the training left no model\.pt"):
        run(moved, StandIn(leaves_network=False))


def test_settings_reach_every_command(data: Path) -> None:
    settings = ["--train#trainer#max_grad_norm", "$None"]
    done = run(data, settings=settings, compare_settings=["--downstream_steps", "3"], overlay="configs/dynunet.yaml")
    assert all(StandIn.value(command, settings[0]) == "$None" for command in done.commands)
    assert all("dynunet" in StandIn.value(command, "--config_file") for command in done.commands)
    compared = [command for command in done.commands if "--downstream_steps" in command]
    assert compared == [command for command in done.commands if command[4] != "training"]


def test_a_command_has_one_thread_and_its_output_in_a_file(tmp_path: Path) -> None:
    program = "import os; print(os.environ['OMP_NUM_THREADS'], os.path.basename(os.getcwd())); raise SystemExit(3)"
    assert run_logged([sys.executable, "-c", program], tmp_path / "log.txt") == 3
    assert (tmp_path / "log.txt").read_text().split() == ["1", "bundle"]


def test_running_commands_end_with_the_runner(tmp_path: Path) -> None:
    program = f"""if True:
        import signal, sys
        from pathlib import Path
        from scripts.experiments import jobs
        signal.signal(signal.SIGTERM, jobs.end_commands)
        child = "import os, time; print(os.getpid(), flush=True); time.sleep(60)"
        jobs.run_logged([sys.executable, "-c", child], Path({str(tmp_path / "log.txt")!r}))
    """
    with subprocess.Popen([sys.executable, "-c", program], cwd=BUNDLE) as process:
        log = tmp_path / "log.txt"
        deadline = time.monotonic() + 60
        while not (log.is_file() and log.read_text().strip()):
            assert process.poll() is None
            assert time.monotonic() < deadline
            time.sleep(0.05)
        process.terminate()
        assert process.wait(30) == 128 + signal.SIGTERM
    with pytest.raises(ProcessLookupError):
        os.kill(int(log.read_text()), 0)
