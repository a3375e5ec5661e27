"""Runs the comparisons of configs/compare.py and records what came out, seed by seed.

  python -m launch.compare [--only=REGEX] [--seeds=0,1,2] [--at_once=2] [--report] [--dry_run]

Each run is one of plmjax.main, each test one of plmjax.main --evaluate_only or plmjax.evaluate, in
folders below --workdir; what is complete there is not done again. The figures go to
docs/objectives.json, of which launch.objectives_page makes docs/objectives.md. --at_once=N keeps
N of them going, each on a core of its own. --report only records what is there.
"""

import itertools
import json
import re
import shlex
from collections.abc import Iterator
from pathlib import Path

from absl import app, flags

from launch.chains import Step, fail, plmjax, run_all, spread
from launch.comparisons import COMPARISONS, Comparison, Test

CONFIG, RECORD = "configs/compare.py", Path("docs/objectives.json")
TEXTS, CHARACTERS, WINDOW = 60, 1200, 60
"""Of the text that is told in an order: documents, characters of each, tokens told together."""


ONLY = flags.DEFINE_string("only", "", "Only comparisons in whose names this regex is found.")
SEEDS = flags.DEFINE_list("seeds", ["0", "1", "2"], "Seeds of each run.")
WORKDIR = flags.DEFINE_string("workdir", "runs/compare", "The folder of the runs' folders.")
AT_ONCE = flags.DEFINE_integer("at_once", 1, "Runs at a time.", lower_bound=1)
REPORT = flags.DEFINE_bool("report", False, "Only record what is there.")
DRY_RUN = flags.DEFINE_bool("dry_run", False, "Print the commands and stop.")


def chosen() -> dict[str, Comparison]:
    """The comparisons that are asked for."""
    found = {name: one for name, one in COMPARISONS.items() if re.search(ONLY.value, name)}
    if not found:
        fail(f"--only={ONLY.value} finds none of {', '.join(COMPARISONS)}")
    return found


def folder(run: str, seed: str, test: Test | None = None) -> Path:
    """Where a run lives, or a test of it."""
    what = f"{test.kind}-{test.name}" if test and test.kind not in ("own", "run") else ""
    return Path(WORKDIR.value) / run / f"seed={seed}" / what


def chains(comparisons: dict[str, Comparison]) -> list[list[Step]]:
    """For each run and seed what is done, one after the other: no run is done twice."""
    tests: dict[str, set[Test]] = {}
    for one in comparisons.values():
        for run in one.runs:
            tests.setdefault(run, set()).update(one.tests)
    return [
        list(steps(run, seed, sorted(asked)))
        for seed in SEEDS.value
        for run, asked in tests.items()
    ]


def steps(run: str, seed: str, tests: list[Test]) -> Iterator[Step]:
    """The run, then its tests."""
    home, same = folder(run, seed), f"--config.seed={seed}"
    train = plmjax("main", f"--config={CONFIG}:{run}", same, f"--workdir={home}")
    yield Step(train, home / "evaluation.json")
    done = set()
    for test in tests:
        place = folder(run, seed, test)
        if test.kind in ("own", "run") or place in done:
            continue
        done.add(place)
        if test.kind == "told":
            yield Step(told(home, test.name), place / "rows.jsonl", printed=True)
            continue
        argument = f"{run},{'tuned' if test.kind == 'tuned' else 'test'}={test.name}"
        words = [f"--config={CONFIG}:{argument}", f"--config.init_from={home}"]
        words += [f"--workdir={place}", same, *["--evaluate_only"] * (test.kind == "asked")]
        yield Step(plmjax("main", *words), place / "evaluation.json")


def told(home: Path, order: str) -> list[str]:
    """How the perplexity of the text is asked."""
    text = Path(WORKDIR.value) / "text.jsonl"
    draws = ["--orders=3"] if order == "random" else []
    words = [f"--model={home}", f"--task=perplexity:{text}", f"--order={order}", *draws]
    return plmjax("evaluate", *words, f"--window={WINDOW}", "--json")


def write_text() -> None:
    """The beginnings of documents that no run has seen."""
    from plmjax.demo import ENGLISH, small
    from plmjax.experiment import default_config, open_corpus, read_settings

    corpus = open_corpus(read_settings(small(default_config("bert", "tiny"), ENGLISH)))
    (split,) = corpus.held_out.values()
    starts = split.sentence_offsets[split.document_offsets][: TEXTS + 1]
    lines = []
    for first, end in itertools.pairwise(starts):
        tokens = split.read(first[None], (end - first)[None])
        text = corpus.tokenizer.decode(tokens.tolist())[:CHARACTERS]
        lines.append(json.dumps({"text": text}))
    Path(WORKDIR.value).mkdir(parents=True, exist_ok=True)
    (Path(WORKDIR.value) / "text.jsonl").write_text("\n".join(lines) + "\n")


def figure(run: str, seed: str, test: Test) -> float | None:
    """A number of a finished test; None before that."""
    home = folder(run, seed, test)
    if test.kind == "told":
        path = home / "rows.jsonl"
        rows = map(json.loads, path.read_text().splitlines()) if path.exists() else ()
        return next((row["value"] for row in rows if row["metric"] == test.figure), None)
    if not (home / "evaluation.json").exists():
        return None
    if test.kind == "run":
        return json.loads((home / "run.json").read_text())["parameters"]
    return json.loads((home / "evaluation.json").read_text())["scores"]["this model"][test.figure]


def record(comparisons: dict[str, Comparison]) -> None:
    """Adds what there is to docs/objectives.json, and prints it."""
    known = json.loads(RECORD.read_text()) if RECORD.exists() else {}
    kept = known.setdefault("comparisons", {})
    for name, one in comparisons.items():
        rows = []
        for test in one.tests:
            for run in one.runs:
                found = {seed: figure(run, seed, test) for seed in SEEDS.value}
                found = {seed: value for seed, value in found.items() if value is not None}
                if found:
                    rows.append({"test": test.says, "run": run, "seeds": found})
        if rows:
            better = {test.says: test.better for test in one.tests if test.better}
            kept[name] = {"title": one.title, "published": one.published, "better": better}
            kept[name] |= {"note": one.note, "rows": rows}
            print(f"\n{one.title}")
            for row in rows:
                mean, deviation, count = spread(row["seeds"].values())
                numbers = f"{mean:.4f} ± {deviation:.4f} ({count})"
                print(f"  {row['test']:<30}{row['run']:<12}{numbers}")
    RECORD.write_text(json.dumps(known, indent=1, ensure_ascii=False) + "\n")


def main(argv):
    if len(argv) > 1:
        fail(f"'{argv[1]}' is not a flag; flags begin with --")
    if not Path(CONFIG).exists():
        fail(f"{CONFIG} is not here; start this from the repository's folder")
    comparisons = chosen()
    todo = chains(comparisons)
    if DRY_RUN.value:
        print("\n".join(shlex.join(step.words) for chain in todo for step in chain))
        return
    if not REPORT.value:
        if any(test.kind == "told" for one in comparisons.values() for test in one.tests):
            write_text()
        run_all(todo, AT_ONCE.value)
    record(comparisons)


if __name__ == "__main__":
    app.run(main)
