"""Runs a config once for each combination of values: a sweep through absl flags.

  python -m launch.sweep --config=configs/quickstart.py --workdir=runs/sweep \
      --set=optimizer.learning_rate=2e-3,5e-3,1e-2 --set=seed=0,1 [--dry_run]

Each combination has a workdir of its own, runs/sweep/learning_rate=0.002,seed=0 and so on, and is
started one after the other; started again, finished ones are complete at once and an interrupted
one resumes. At the end a table shows the held-out numbers of each, best first, and where there are
several seeds their mean and standard deviation for each of the other settings; the settings with
the best mean are named, and sweep.png shows all.

As a job each, --submit is the command that hands one in. {command} in it is the run's command,
{flags} only its flags, {name} and {workdir} what they say:

  --submit='sbatch --job-name={name} --nodes=2 launch/slurm.sbatch {flags}'
  --submit='launch/tpu_vm.sh watch --name=sweep-{number} -- {flags}'

It goes through the shell, one after the other. --report, later, shows the table of those that are
done. --objective names the number to sort by, by default the loss of the tokens, of a labelled task
the figure that its best checkpoint is chosen by: of losses and perplexities the smallest is the
best, of other numbers the largest.
"""

import itertools
import os
import shlex
import string
import subprocess
import sys
from typing import NamedTuple

from absl import app, flags
from etils import epath

from launch import sweep_report

CONFIG = flags.DEFINE_string("config", None, "The config, with its argument.", required=True)
WORKDIR = flags.DEFINE_string("workdir", "runs/sweep", "The folder of the runs' folders.")
SET = flags.DEFINE_multi_string("set", [], "KEY=VALUE,VALUE,...; may be given several times.")
SUBMIT = flags.DEFINE_string("submit", "", "The command that hands in a job.")
OBJECTIVE = flags.DEFINE_string("objective", "", "The number to sort by.")
REPORT = flags.DEFINE_bool("report", False, "Only show the table of the finished ones.")
DRY_RUN = flags.DEFINE_bool("dry_run", False, "Print the commands and stop.")

PREEMPTED = 75  # of plmjax.main: start the same command again
PLACES = ("command", "flags", "name", "workdir", "number")


class Run(NamedTuple):
    """One combination: its name, its workdir, plmjax.main's flags, and the settings that vary."""

    name: str
    workdir: str
    flags: list[str]
    point: list[tuple[str, str]]

    @property
    def command(self) -> list[str]:
        """What runs it here."""
        return [sys.executable, "-m", "plmjax.main", *self.flags]


def combinations(given: list[str]) -> list[list[tuple[str, str]]]:
    """Every way to take one value of each key."""
    axes = []
    for text in given:
        key, equals, values = text.partition("=")
        if not key or not equals or not all(values.split(",")):
            fail(f"--set={text}; expected KEY=VALUE,VALUE, as optimizer.power=1,2")
        axes.append([(key, value) for value in values.split(",")])
    return [list(point) for point in itertools.product(*axes)]


def runs() -> list[Run]:
    """One for each combination, named after the settings that have several values."""
    made, points = [], combinations(SET.value)
    for point in points:
        varied = [pair for pair in point if any(pair not in other for other in points)]
        name = ",".join(f"{key.rpartition('.')[2]}={value}" for key, value in varied) or "one"
        name = name.replace("/", "_")
        workdir = os.path.join(WORKDIR.value, name)
        overrides = [f"--config.{key}={value}" for key, value in point]
        flags_of = [f"--config={CONFIG.value}", f"--workdir={workdir}", *overrides]
        made.append(Run(name, workdir, flags_of, varied))
    return made


def submission(template: str, run: Run, number: int) -> str:
    """The template with its places filled in, for the shell."""
    try:
        parts = list(string.Formatter().parse(template))
    except ValueError as error:
        fail(f"--submit={template}: {error}; write {{{{ and }}}} for braces of the shell")
    named = [place for _, place, _, _ in parts if place is not None]
    if unknown := sorted(set(named) - set(PLACES)):
        fail(f"--submit has {{{unknown[0]}}}; there are {', '.join(f'{{{p}}}' for p in PLACES)}")
    if not {"command", "flags"} & set(named):
        fail("--submit has neither {command} nor {flags}, so all jobs would be the same")
    words = {"command": run.command, "flags": run.flags}
    words |= {"name": [run.name], "workdir": [run.workdir], "number": [str(number)]}
    return template.format(**{place: shlex.join(words[place]) for place in PLACES})


def hand_in(run: Run, number: int) -> None:
    """Submits one job."""
    line = submission(SUBMIT.value, run, number)
    print(line, flush=True)
    if not DRY_RUN.value and subprocess.run(line, shell=True).returncode:
        fail(f"--submit failed for {run.name}; the sweep stops here")


def do_here(run: Run) -> None:
    """Runs one to its end."""
    print(shlex.join(run.command), flush=True)
    if DRY_RUN.value:
        return
    code = subprocess.run(run.command).returncode
    if code == PREEMPTED:
        sys.exit(PREEMPTED)
    if code:
        fail(f"the run in {run.workdir} failed; the sweep stops here")


def report(all_runs: list[Run]) -> None:
    """Prints what the finished runs came to, and leaves a picture of it."""
    done = sweep_report.finished([(run.name, run.workdir, run.point) for run in all_runs])
    if not done:
        print("No run has been finished yet.")
        return
    workdir = next(run.workdir for run in all_runs if run.name == done[0].name)
    objective = OBJECTIVE.value or sweep_report.objective_of(done, workdir)
    for run in done:
        if objective not in run.scores:
            there = ", ".join(run.scores)
            fail(f"--objective={objective} is no number of {run.name}; there are: {there}")
    picture = epath.Path(WORKDIR.value) / "sweep.png"
    sweep_report.draw(done, objective, picture)
    print(f"{sweep_report.table(done, objective)}\n\nA picture is in {picture}.")


def fail(message: str) -> None:
    """Ends with one line."""
    print(f"error: {message}", file=sys.stderr)
    sys.exit(2)


def main(argv):
    if len(argv) > 1:
        fail(f"'{argv[1]}' is not a flag; flags begin with --")
    all_runs = runs()
    for number, run in enumerate([] if REPORT.value else all_runs):
        if SUBMIT.value:
            hand_in(run, number)
        else:
            do_here(run)
    if REPORT.value or not (DRY_RUN.value or SUBMIT.value):
        report(all_runs)


if __name__ == "__main__":
    app.run(main)
