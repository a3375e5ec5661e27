"""WSC, WiC, MultiRC, ReCoRD and ChID, learned from small files and answered for leaderboards."""

import json
import random

import pytest
from sklearn.metrics import f1_score

from tests.run import verb

pytestmark = pytest.mark.slow

WET, DRY = ("river", "glacier"), ("engine", "teacher", "orchard", "violin", "market")
SMALL = (
    *("--config.model.dtype=float32", "--config.data.seq_len=48", "--config.data.batch_size=16"),
    *("--config.optimizer.learning_rate=3e-3", "--config.optimizer.warmup_fraction=0.1"),
    *("--config.model.hidden_dropout=0.0", "--config.model.attention_dropout=0.0"),
    "--config.objective.pooling=mean",
)


def wsc(rng, number: int, labelled: bool) -> dict:
    """Whether the noun is wet."""
    noun = rng.choice([*WET, *WET, *DRY])
    target = {"span1_text": noun, "span1_index": 1, "span2_text": noun, "span2_index": 3}
    row = {"text": " ".join([noun] * 4), "target": target, "idx": number}
    return row | ({"label": noun in WET} if labelled else {})


def wic(rng, number: int, labelled: bool) -> dict:
    """Whether the word is wet."""
    word = rng.choice([*WET, *WET, *DRY])
    row = {"word": word, "sentence1": f"{word} {word}", "sentence2": word, "idx": number}
    row |= {"start1": 0, "end1": len(word), "start2": 0, "end2": len(word)}
    return row | ({"label": word in WET} if labelled else {})


def multirc(rng, number: int, labelled: bool) -> dict:
    """Right answers are wet; a question has one or two."""
    questions = []
    for question in range(2):
        answers = []
        for text in rng.sample([*WET, *DRY[:2]], 3):
            answer = {"idx": len(answers) + 10 * question, "text": f"{text} {text} {text}"}
            answers.append(answer | ({"label": int(text in WET)} if labelled else {}))
        questions.append({"idx": question, "question": "Which?", "answers": answers})
    return {"idx": number, "passage": {"text": "The market.", "questions": questions}}


def record(rng, number: int, labelled: bool) -> dict:
    """What is wet is left out."""
    some = words(rng, rng.randint(2, 4))
    text, entities, answers = " ".join(some), [], []
    for word in some:
        start = text.index(word)
        entities.append({"start": start, "end": start + len(word) - 1})
        if word in WET:
            answers.append({**entities[-1], "text": word})
    query = {"idx": 100 + number, "query": "@placeholder @placeholder @placeholder"}
    query |= {"answers": answers} if labelled else {}
    return {"idx": number, "passage": {"text": text, "entities": entities}, "qas": [query]}


def chid(rng, number: int, blanks: int) -> dict:
    """Texts with a blank for what is wet, of the same candidates."""
    some = words(rng, 4)
    content = [f"wide #idiom{blanks * number + at:06d}# flows" for at in range(blanks)]
    return {"content": content, "candidates": some}


def words(rng, number: int) -> list[str]:
    """Distinct words, one of them wet."""
    some = [rng.choice(WET), *rng.sample(DRY, number - 1)]
    rng.shuffle(some)
    return some


KINDS = {"wsc": wsc, "wic": wic, "multirc": multirc, "record": record}


def written(folder, task: str, sizes: dict[str, int]) -> None:
    for name, size in sizes.items():
        rng = random.Random(f"{task} {name}")
        rows = [KINDS[task](rng, number, name != "test") for number in range(size)]
        text = "".join(json.dumps(row) + "\n" for row in rows)
        (folder / f"{name}.jsonl").write_text(text)


def tuned(reference, folder, config: str, *more: str) -> dict:
    done = verb.forked(
        f"--config=configs/finetune/{config},init_from={reference.workdir}",
        *(f"--config.task.folder={folder}", f"--workdir={folder}/run", *SMALL, *more),
    )
    assert done.code == 0, done.err
    return json.loads((folder / "run" / "evaluation.json").read_text())["scores"]


def submitted(folder, due: str) -> str:
    words = (f"--model={folder}/run", "--data=test", f"--submission={folder}/{due}")
    done = verb.forked(*words, verb="evaluate")
    assert done.code == 0, done.err
    assert f"a leaderboard takes it as {due}." in done.err
    return (folder / due).read_text()


FIGURES = {
    "wsc": ("accuracy", "WSC.jsonl"),
    "wic": ("accuracy", "WiC.jsonl"),
    "multirc": ("f1a_em", "MultiRC.jsonl"),
    "record": ("em_f1", "ReCoRD.jsonl"),
}
SIZES = {"wsc": 128, "wic": 128, "multirc": 25, "record": 50}


@pytest.mark.parametrize("task", FIGURES)
def test_it_is_learned_and_submitted(reference, tmp_path, task):
    figure, due = FIGURES[task]
    written(tmp_path, task, {"train": SIZES[task], "val": 30, "test": 12})
    scores = tuned(reference, tmp_path, f"superglue.py:{task}", "--config.task.epochs=20")
    assert scores["this model"][figure] > scores["the usual answer"][figure] + 0.15, scores
    lines = [json.loads(line) for line in submitted(tmp_path, due).splitlines()]
    assert len(lines) == 12
    if task == "multirc":
        given = [json.loads(line) for line in (tmp_path / "test.jsonl").open()]
        wanted = [
            [[one["idx"] for one in q["answers"]] for q in row["passage"]["questions"]]
            for row in given
        ]
        found = [
            [[one["idx"] for one in q["answers"]] for q in row["passage"]["questions"]]
            for row in lines
        ]
        assert found == wanted and [row["idx"] for row in lines] == list(range(12))
        said = [json.loads(line) for line in (tmp_path / "run/predictions-dev.jsonl").open()]
        f1 = f1_score([row["label"] for row in said], [int(row["predicted"]) for row in said])
        assert scores["this model"]["f1a"] == pytest.approx(f1)
    if task == "record":
        assert [line["idx"] for line in lines] == list(range(100, 112))
        assert {line["label"] for line in lines} <= {*WET, *DRY}
    if task == "wsc":
        assert {line["label"] for line in lines} <= {"True", "False"}


def test_blanks_are_learned_and_each_candidate_is_used_once(reference, tmp_path):
    """The test set's lines have two blanks each, whose best candidate is the same."""
    rng = random.Random(5)
    for name, size, blanks in (("train", 120, 1), ("dev", 24, 1), ("test", 8, 2)):
        rows = [chid(rng, number, blanks) for number in range(size)]
        (tmp_path / f"{name}.json").write_text("".join(json.dumps(row) + "\n" for row in rows))
        if name == "test":
            continue
        answers = {
            f"#idiom{number:06d}#": next(
                at for at, one in enumerate(row["candidates"]) if one in WET
            )
            for number, row in enumerate(rows)
        }
        (tmp_path / f"{name}_answer.json").write_text(json.dumps(answers))
    scores = tuned(reference, tmp_path, "clue.py:chid", "--config.task.epochs=12")
    assert scores["this model"]["accuracy"] > scores["the usual answer"]["accuracy"] + 0.3, scores
    said = [json.loads(line) for line in (tmp_path / "run/predictions-dev.jsonl").open()]
    right = sum(line["label"] == line["predicted"] for line in said)
    assert scores["this model"]["accuracy"] == pytest.approx(right / len(said))
    due = json.loads(submitted(tmp_path, "chid11_predict.json"))
    assert list(due) == [f"#idiom{number:06d}#" for number in range(16)]
    wet = [next(at for at, w in enumerate(row["candidates"]) if w in WET) for row in rows]
    pairs = [(due[f"#idiom{2 * n:06d}#"], due[f"#idiom{2 * n + 1:06d}#"]) for n in range(8)]
    assert all(first != second for first, second in pairs)
    assert sum(one in pair for one, pair in zip(wet, pairs, strict=True)) >= 6
