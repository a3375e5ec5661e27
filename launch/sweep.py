"""Runs a config once for each combination of values: a sweep through absl flags.

  python launch/sweep.py --config=configs/quickstart.py --workdir=runs/sweep \
      --set=optimizer.learning_rate=2e-3,5e-3,1e-2 --set=seed=0,1 [--dry_run]

Each combination has a workdir of its own, runs/sweep/learning_rate=0.002,seed=0 and so on, and is
started one after the other; started again, finished ones are complete at once and an interrupted
one resumes. At the end a table shows the held-out numbers of each, best first.
"""

import itertools
import json
import os
import shlex
import subprocess
import sys

from absl import app, flags

CONFIG = flags.DEFINE_string("config", None, "The config, with its argument.", required=True)
WORKDIR = flags.DEFINE_string("workdir", "runs/sweep", "The folder of the runs' folders.")
SET = flags.DEFINE_multi_string("set", [], "KEY=VALUE,VALUE,...; may be given several times.")
DRY_RUN = flags.DEFINE_bool("dry_run", False, "Print the commands and stop.")


def combinations(given: list[str]) -> list[list[tuple[str, str]]]:
    """Every way to take one value of each key."""
    axes = []
    for text in given:
        key, equals, values = text.partition("=")
        if not key or not equals or not all(values.split(",")):
            sys.exit(f"error: --set={text}; expected KEY=VALUE,VALUE, as optimizer.power=1,2")
        axes.append([(key, value) for value in values.split(",")])
    return [list(point) for point in itertools.product(*axes)]


def main(_):
    scores = []
    for point in combinations(SET.value):
        name = ",".join(f"{key.rpartition('.')[2]}={value}" for key, value in point) or "one"
        workdir = os.path.join(WORKDIR.value, name)
        command = [sys.executable, "-m", "plmjax.main", f"--config={CONFIG.value}"]
        command += [f"--workdir={workdir}", *(f"--config.{key}={value}" for key, value in point)]
        print(shlex.join(command), flush=True)
        if DRY_RUN.value:
            continue
        if subprocess.run(command).returncode:
            sys.exit(f"error: the run in {workdir} failed; the sweep stops here")
        with open(os.path.join(workdir, "evaluation.json")) as file:
            scores.append((json.load(file)["scores"]["this model"], name))
    for numbers, name in sorted(scores, key=lambda item: item[0]["mlm_loss"]):
        print("  ".join([*(f"{key} {value:.4f}" for key, value in numbers.items()), name]))


if __name__ == "__main__":
    app.run(main)
