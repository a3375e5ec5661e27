"""Tunes a backbone on the published sets of docs/finetuning.md and records what it scores.

  python -m launch.finetuning --data=FOLDER --english=RUN --chinese=RUN \
      [--only=REGEX] [--seeds=0,1,2] [--start=tuned] [--at_once=2] [--peer=FOLDER] \
      [--report] [--dry_run]

The data has a folder for each set (sst2, mrpc, stsb, conll2003, xquad_en, chnsenticorp, ocnli,
weibo_ner, segmentation, cmrc2018) with the set's published files; what is learned of each
is in launch/labelled_sets.py. RUN is the workdir of a pretrained or imported run. Each set is
learned from the backbone and from the same backbone with new parameters, in folders below
--workdir (--start=tuned or =untrained does one of both); what is complete there is not done again.
--peer is the folder of Hugging Face's files that --english was imported from: four sets are tuned
by transformers and torch as well, see launch/finetuning_peer.py. The figures go to
docs/finetuning.json, of which launch.finetuning_page makes the tables of docs/finetuning.md.
"""

import json
import re
import shlex
import sys
from collections.abc import Iterator
from pathlib import Path

from absl import app, flags

from launch.chains import Step, fail, plmjax, run_all, spread
from launch.labelled_sets import PARTS, Part, write
from plmjax.data.labelled.benchmarks import BENCHMARKS
from plmjax.errors import UserError

RECORD = Path("docs/finetuning.json")
STARTS = ("tuned", "untrained")
PEERS = ("sst2", "mrpc", "conll2003", "xquad_en")
"""A classification, a pair, a NER and a QA set."""
THEIRS = (sys.executable, "-m", "launch.finetuning_peer")
UPDATES = 50

DATA = flags.DEFINE_string("data", "data", "The folder with a folder for each set.")
ENGLISH = flags.DEFINE_string("english", "", "The workdir of an English backbone.")
CHINESE = flags.DEFINE_string("chinese", "", "The workdir of a Chinese one.")
PEER = flags.DEFINE_string("peer", "", "Hugging Face's files of the English backbone.")
ONLY = flags.DEFINE_string("only", "", "Only sets in whose names this regex is found.")
SEEDS = flags.DEFINE_list("seeds", ["0", "1", "2"], "Seeds of each run.")
STARTED = flags.DEFINE_multi_enum("start", list(STARTS), STARTS, "From the backbone, or anew.")
WORKDIR = flags.DEFINE_string("workdir", "runs/finetuning", "The folder of the runs' folders.")
AT_ONCE = flags.DEFINE_integer("at_once", 1, "Runs at a time.", lower_bound=1)
REPORT = flags.DEFINE_bool("report", False, "Only record what is there.")
DRY_RUN = flags.DEFINE_bool("dry_run", False, "Print the commands and stop.")


def home(name: str) -> Path:
    """The folder of a set's runs."""
    return Path(WORKDIR.value) / name


def settings_of(name: str, part: Part, start: str, seed: str) -> list[str]:
    """The flags of plmjax.main for a run, without its workdir."""
    run = ENGLISH.value if part.model == "english" else CHINESE.value
    fresh = ",fresh=true" if start == "untrained" else ""
    given = {
        "seed": seed,
        "data.seq_len": part.seq_len,
        "optimizer.name": "adamw",
        "optimizer.learning_rate": part.rate,
    }
    task = {
        "train": home(name) / "train.jsonl",
        "dev": home(name) / "test.jsonl",
        "epochs": part.epochs,
    }
    if part.task == "classification" and BENCHMARKS[part.benchmark].second:
        task["pair"] = "pair"
    return [
        f"--config=configs/finetune/own.py:{run},task={part.task}{fresh}",
        *(f"--config.{key}={value}" for key, value in given.items()),
        *(f"--config.task.{key}={value}" for key, value in task.items()),
        *part.settings,
    ]


def chains(parts: dict[str, Part]) -> Iterator[list[Step]]:
    """What is run: all sets with the first seed before any with the second."""
    for seed in SEEDS.value:
        for name, part in parts.items():
            for start in STARTED.value:
                place = home(name) / start / f"seed={seed}"
                words = [*settings_of(name, part, start, seed), f"--workdir={place}"]
                yield [Step(plmjax("main", *words), place / "evaluation.json")]
            if PEER.value and name in PEERS:
                yield [peer(name, part, seed), *exact(name, part, seed)]


def exact(name: str, part: Part, seed: str) -> list[Step]:
    """Fifty updates of both without dropout, with the first seed; their losses."""
    if seed != SEEDS.value[0]:
        return []
    off = ["--config.model.hidden_dropout=0", "--config.model.attention_dropout=0"]
    short = ["--config.task.epochs=0", f"--config.train.steps={UPDATES}"]
    place, file = home(name) / "exact", home(name) / "curve.json"
    words = [*settings_of(name, part, "tuned", seed), *off, *short, "--config.train.log_every=1"]
    return [
        Step(plmjax("main", *words, f"--workdir={place}"), place / "evaluation.json"),
        Step([*THEIRS, *words, *theirs(file), f"--ours={place}"], file),
    ]


def peer(name: str, part: Part, seed: str) -> Step:
    """What transformers and torch make of the same run."""
    file = home(name) / f"peer/seed={seed}/evaluation.json"
    return Step([*THEIRS, *settings_of(name, part, "tuned", seed), *theirs(file)], file)


def theirs(file: Path) -> list[str]:
    return [f"--theirs={PEER.value}", f"--out={file}"]


def scored(path: Path, figure: str) -> dict[str, float]:
    """A figure of each row of a report; nothing where it is not there."""
    if not path.exists():
        return {}
    scores = json.loads(path.read_text())["scores"]
    return {row: numbers[figure] for row, numbers in scores.items() if figure in numbers}


def record(parts: dict[str, Part]) -> None:
    """Adds what there is to docs/finetuning.json, and prints it."""
    known = json.loads(RECORD.read_text()) if RECORD.exists() else {}
    for name, part in parts.items():
        rows: dict[str, dict[str, float]] = {}
        for seed in SEEDS.value:
            for start in (*STARTS, "peer"):
                found = scored(home(name) / start / f"seed={seed}/evaluation.json", part.figure)
                if "this model" in found:
                    rows.setdefault(start, {})[seed] = found.pop("this model")
                for row, value in found.items():
                    rows.setdefault(row, {}).setdefault("0", value)
        if not rows:
            continue
        about = json.loads((home(name) / "sizes.json").read_text())
        known[name] = {"sizes": about, "rows": rows}
        curve = home(name) / "curve.json"
        if curve.exists():
            known[name]["curve"] = json.loads(curve.read_text())
        print(f"\n{part.title}: {part.figure}")
        for row, values in rows.items():
            mean, deviation, count = spread(values.values())
            print(f"  {row:<20}{mean:.4f} ± {deviation:.4f} ({count})")
    RECORD.write_text(json.dumps(known, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")


def prepare(parts: dict[str, Part]) -> None:
    """Writes what is learned of each set, where that is not there."""
    for name in parts:
        sizes = home(name) / "sizes.json"
        if not sizes.exists():
            try:
                found = write(name, Path(DATA.value), home(name))
            except UserError as error:
                fail(str(error))
            sizes.write_text(json.dumps(found) + "\n")
            print(f"{name}: {found}", flush=True)


def main(argv):
    if len(argv) > 1:
        fail(f"'{argv[1]}' is not a flag; flags begin with --")
    parts = {name: part for name, part in PARTS.items() if re.search(ONLY.value, name)}
    if not parts:
        fail(f"--only={ONLY.value} finds none of {', '.join(PARTS)}")
    if not REPORT.value:
        for model in sorted({part.model for part in parts.values()}):
            if not flags.FLAGS[model].value:
                fail(f"--{model} is missing: the workdir of the backbone of {', '.join(parts)}")
        prepare(parts)
        todo = list(chains(parts))
        if DRY_RUN.value:
            print("\n".join(shlex.join(step.words) for chain in todo for step in chain))
            return
        run_all(todo, AT_ONCE.value)
    record(parts)


if __name__ == "__main__":
    app.run(main)
