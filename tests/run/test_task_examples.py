"""Examples with what a model says of them: plmjax.task_examples, and --show of plmjax.evaluate."""

import io
import json
import random
import re

import pytest
from rich.console import Console

from plmjax.data.labelled.rows import Row
from plmjax.data.labelled.sets import LabelledSet
from plmjax.data.labelled.tasks import LABELLED_TASKS
from plmjax.task_examples import show, stretch
from tests.run import verb
from tests.run.test_fine_tuning import CONFIG, SMALL, written


def shown(
    name: str, records: list[dict], classes=(), colours=False, count=99, labelled=True, **fields
) -> str:
    """What is printed of some records, without colours."""
    file, task = io.StringIO(), LABELLED_TASKS[name](**fields)
    system = "standard" if colours else None
    console = Console(file=file, color_system=system, force_terminal=colours, width=20)
    rows = tuple(Row(each, f"line {number}") for number, each in enumerate(records, 1))
    examples = LabelledSet("data", "file", rows, task, tuple(classes), None, labelled)
    show(examples, records, count, console)
    return file.getvalue()


def test_the_surest_mistakes_come_first():
    rows = [("wet", "wet", 0.9), ("wet", "dry", 0.6), ("dry", "wet", 0.8), ("dry", "dry", 0.7)]
    records = [
        {"text": f"t{number}", "label": label, "predicted": said, "score": score}
        for number, (label, said, score) in enumerate(rows)
    ]
    assert shown("classification", records).splitlines() == [
        "wet 80%  it is dry  (line 3)",
        "  t2",
        "dry 60%  it is wet  (line 2)",
        "  t1",
        "wet 90%  (line 1)",
        "  t0",
        "dry 70%  (line 4)",
        "  t3",
    ]
    assert shown("classification", records, count=1).splitlines()[1:] == ["  t2"]


def test_long_texts_stay_in_one_line_and_pairs_have_two():
    text = "a river " * 30 + "[bold]"
    record = {"text": text, "other": "its bank", "label": 1, "predicted": "1", "score": 1.0}
    lines = shown("classification", [record], pair="other").splitlines()
    assert lines == ["1 100%  (line 1)", f"  {text}", "  its bank"]


def test_classes_that_are_missing_or_invented_are_named():
    classes = ("art", "law", "sea", "war")
    records = [
        {"text": "a", "label": "art", "predicted": ["art"], "score": [0.9, 0.1, 0.2, 0.3]},
        {"text": "b", "label": "", "predicted": [], "score": [0.1, 0.1, 0.2, 0.3]},
        {"text": "c", "label": "art,sea", "predicted": ["law", "sea"], "score": [0.4, 0.7, 0.8, 0]},
    ]
    assert shown("multi_label", records, classes).splitlines() == [
        "art 40% missing  law 70% invented  sea 80%  (line 3)",
        "  c",
        "art 90%  (line 1)",
        "  a",
        "no class  (line 2)",
        "  b",
    ]


def test_the_largest_errors_come_first():
    records = [
        {"text": "a", "label": "2.5", "predicted": 2.25},
        {"text": "b", "label": 1, "predicted": -3.0},
    ]
    assert shown("regression", records).splitlines()[0] == "-3 said, 1 true, 4 off  (line 2)"
    pairs = [
        {"sentence1": "a", "sentence2": "b", "score": 4, "predicted": 0.85},
        {"sentence1": "c", "sentence2": "d", "score": 1, "predicted": 0.9},
    ]
    assert shown("similarity", pairs).splitlines()[:3] == [
        "0.90 said, 0.20 true (1 of 5), 0.70 off  (line 2)",
        "  c",
        "  d",
    ]


SENTENCES = {
    "all right": ("Angela Merkel met us", "B-PER I-PER O O", "B-PER I-PER O O"),
    "missed": ("Angela Merkel met us", "B-PER I-PER O O", "O O O O"),
    "invented": ("Angela Merkel met us", "B-PER I-PER O O", "B-PER I-PER B-LOC O"),
    "another type": ("In Paris", "O B-LOC", "O B-PER"),
    "another end": ("In New York City , yes", "O B-LOC I-LOC I-LOC O O", "O B-LOC I-LOC O O O"),
    "another beginning": ("In New York", "O B-LOC I-LOC", "O O B-LOC"),
    "two for one": ("Rio Tinto Group", "B-ORG I-ORG I-ORG", "B-LOC B-PER O"),
    "neighbours": ("Rome Bonn", "B-LOC B-LOC", "B-LOC O"),
    "nothing": ("so it is", "O O O", "O O O"),
    "ideographs": ("在 北 京 开 OK ok 会", "O B-LOC I-LOC O O O O", "O B-LOC I-LOC O O O B-PER"),
}
LOOK = {
    "all right": "1 right|[Angela Merkel PER] met us",
    "missed": "1 missed|[Angela Merkel PER missed] met us",
    "invented": "1 right, 1 invented|[Angela Merkel PER] [met LOC invented] us",
    "another type": "1 missed, 1 invented|In [Paris PER, it is LOC]",
    "another end": "1 missed, 1 invented|In <[New York LOC] City; it is [New York City LOC]> , yes",
    "another beginning": "1 missed, 1 invented|In <New [York LOC]; it is [New York LOC]>",
    "two for one": "1 missed, 2 invented"
    "|<[Rio LOC] [Tinto PER] Group; it is [Rio Tinto Group ORG]>",
    "neighbours": "1 right, 1 missed|[Rome LOC] [Bonn LOC missed]",
    "nothing": "no entity|so it is",
    "ideographs": "1 right, 1 invented|在[北京 LOC]开OK ok[会 PER invented]",
}


def sentence(words: str, tags: str, said: str) -> dict:
    return {"tokens": words.split(), "tags": tags.split(), "predicted": said.split()}


@pytest.mark.parametrize("name", SENTENCES)
def test_entities_stand_in_the_sentence(name):
    told, look = LOOK[name].split("|")
    found = shown("tagging", [sentence(*SENTENCES[name])]).splitlines()
    assert found == [f"{told}  (line 1)", f"  {look}"]


def test_the_worst_sentence_comes_first_and_bioes_is_the_same():
    given = [sentence(*SENTENCES[name]) for name in ("missed", "two for one", "all right")]
    first = shown("tagging", given).splitlines()[0::2]
    assert [line[-2] for line in first] == ["2", "1", "3"]
    learned = {"predicted": ["B-PER", "E-PER", "O", "O"]}
    found = shown("tagging", [given[0] | learned], scheme="bioes").splitlines()
    assert found[1] == "  [Angela Merkel PER] met us"


def test_types_have_colours_and_mistakes_another():
    record = sentence("Angela met Bonn", "B-PER O B-LOC", "B-PER O O")
    codes = re.findall(r"\x1b\[([\d;]+)m\[(\w+)", shown("tagging", [record], colours=True))
    assert [word for _, word in codes] == ["Angela", "Bonn"]
    assert codes[1][0] == "1;31" and codes[0][0] != codes[1][0]
    plain = re.sub(r"\x1b\[[\d;]*m", "", shown("tagging", [record], colours=True))
    assert plain == shown("tagging", [record])


def test_boundaries_of_words_have_signs():
    record = sentence("北 京 大 学 生", "B I B I I", "B I I I B")
    found = shown("tagging", [record], metric="tagged_segmentation_f1").splitlines()
    assert found == ["1 missed ┊, 1 invented ╳  (line 1)", "  北京┊大学╳生"]
    whole = sentence("北 京 大 学", "B E B E", "B E B E")
    found = shown("tagging", [whole], metric="tagged_segmentation_f1").splitlines()
    assert found == ["1 right │  (line 1)", "  北京│大学"]


def test_other_tags_stand_behind_words():
    record = sentence("we saw her", "PRON VERB PRON", "PRON NOUN PRON")
    found = shown("tagging", [record], metric="token_accuracy").splitlines()
    assert found == ["2 of 3 tags right  (line 1)", "  we/PRON saw/NOUN(it is VERB) her/PRON"]


def test_options_are_listed():
    record = {"context": "It flows.", "question": "What?", "options": ["a wall", "a river", "tea"]}
    said = {"label": 1, "predicted": 2, "option": "tea", "score": 0.5}
    assert shown("choice", [record | said]).splitlines() == [
        "option 2 50%  it is option 1  (line 1)",
        "  It flows.",
        "  What?",
        "                 0 a wall",
        "           true  1 a river",
        "           said  2 tea",
    ]
    right = shown("choice", [record | said | {"predicted": 1}]).splitlines()
    assert right[0] == "option 1 50%  (line 1)" and right[4] == "  said and true  1 a river"


CONTEXT = "The long river Elbe crosses old Hamburg."


def answer(said: str, truth: list[str], context: str = CONTEXT, **more) -> dict:
    return {
        "context": context,
        "question": "Which?",
        "answers": truth,
        "starts": [context.find(one) for one in truth],
        "predicted": said,
        "predicted_start": context.find(said) if said else -1,
        **more,
    }


def test_answers_are_marked_in_the_text():
    given = [
        answer("Elbe", ["Elbe"]),
        answer("Hamburg", ["Elbe"]),
        answer("long river Elbe", ["river Elbe", "Elbe"]),
    ]
    assert shown("extraction", given).splitlines() == [
        "Hamburg  it is Elbe  f1 0.00  (line 2)",
        "  Which?",
        "  The long river [Elbe true] crosses old [Hamburg said].",
        "long river Elbe  it is river Elbe or Elbe  f1 0.80  (line 3)",
        "  Which?",
        "  The [long  said][river Elbe said and true] crosses old Hamburg.",
        "Elbe  (line 1)",
        "  Which?",
        "  The long river [Elbe said and true] crosses old Hamburg.",
    ]


def test_the_text_between_far_answers_is_left_out():
    context = "Elbe. " + "x" * 200 + " Rhine. " + "y" * 200
    record = answer("Rhine", ["Elbe"], context)
    text = stretch(LABELLED_TASKS["extraction"](), Row(record, ""), record).plain
    assert text.startswith("[Elbe true]. xx") and text.endswith("yy…")
    assert re.search(r"x…x+ \[Rhine said\]\.", text)
    assert len(text) < 260


def test_questions_may_have_no_answer():
    given = [
        answer("Elbe", [], null_score=1.5),
        answer("Elbe", [], null_score=-1.5),
        answer("Elbe", ["Elbe"], null_score=0.5),
    ]
    found = shown("extraction", given, metric="squad_v2_best").splitlines()[::3]
    assert sorted(found[:2]) == [
        "Elbe  it is not answered  f1 0.00  (line 2)",
        "no answer  it is Elbe  f1 0.00  (line 3)",
    ]
    assert found[2] == "no answer  (line 1)"


def test_a_text_that_a_tokenizer_rewrites_is_shown_without_what_is_not_in_it():
    record = answer("ELBE", ["Elbe"]) | {"predicted_start": 15}
    found = shown("extraction", [record]).splitlines()
    assert found[2] == "  The long river [Elbe true] crosses old Hamburg."


def test_several_options_may_be_right():
    record = {"passage": "Two rivers.", "query": "@placeholder flows.", "options": ["Elbe", "Oder"]}
    found = shown("filling", [record | {"answers": ["Oder"], "predicted": "Elbe"}]).splitlines()
    assert found == [
        "Elbe  it is Oder  (line 1)",
        "  Two rivers.",
        "  @placeholder flows.",
        "           said  0 Elbe",
        "           true  1 Oder",
    ]
    found = shown("filling", [record | {"answers": ["Oder", "Elbe"], "predicted": "Elbe"}])
    assert found.splitlines()[3:] == ["  said and true  0 Elbe", "           true  1 Oder"]


def test_a_blank_may_be_left_and_marks_are_seen():
    record = {"left": "a", "right": "b", "group": 1, "options": ["x", "y"], "label": 1}
    found = shown("blanks", [record | {"predicted": -1, "option": ""}]).splitlines()
    assert found[0] == "no option  it is option 1  (line 1)"
    assert found[3:] == ["                 0 x", "           true  1 y"]
    words = {"span1_text": "Mark", "span1_index": 0, "span2_text": "he", "span2_index": 3}
    record = {"text": "Mark said that he left.", "label": "true", "predicted": "true", "score": 0.9}
    assert shown("mentions", [record | words]).splitlines()[1] == "  _Mark_ said that [he] left."


UNLABELLED = {
    "classification": ({"text": "a"}, {"predicted": "wet", "score": 0.9}, "wet 90%", "a"),
    "multi_label": ({"text": "a"}, {"predicted": ["x", "y"], "score": [1, 1]}, "x, y", "a"),
    "regression": ({"text": "a"}, {"predicted": 1.5}, "1.5", "a"),
    "tagging": (
        {"tokens": ["Angela", "met"]},
        {"predicted": ["B-PER", "O"]},
        "2 words",
        "[Angela PER] met",
    ),
    "extraction": (
        {"context": "The Elbe.", "question": "Which?"},
        {"predicted": "Elbe", "predicted_start": 4},
        "Elbe",
        "The Elbe.",
    ),
    "choice": (
        {"context": "It flows.", "question": "What?", "options": ["a", "b"]},
        {"predicted": 1, "option": "b", "score": 0.75},
        "b 75%",
        "It flows.",
    ),
}


@pytest.mark.parametrize("name", UNLABELLED)
def test_examples_without_labels_are_shown_in_their_order(name):
    fields, said, first, text = UNLABELLED[name]
    found = shown(name, [fields | said] * 2, ("x", "y"), labelled=False).splitlines()
    assert found[:2] == [f"{first}  (line 1)", f"  {text}"]
    assert f"{first}  (line 2)" in found


# ------------------------------------------------------------------------------------- of a run


def table(folder, kind: str, name: str, count: int) -> str:
    """A file of a task of texts; the labels are nothing that could be learned."""
    rng, path = random.Random(name), folder / f"{kind}-{name}.tsv"
    lines = ["sentence1\tsentence2\tlabel"]
    for number in range(count):
        words = " ".join(rng.choices(["river", "engine", "violin"], k=4))
        label = {"classification": f"c{number % 3}", "multi_label": "a,b" if number % 2 else "b"}
        lines.append(f"The {words}.\tThe river.\t{label.get(kind, number % 5)}")
    path.write_text("\n".join(lines) + "\n")
    return str(path)


FIELDS = {
    "classification": ("--config.task.text=sentence1", "--config.task.pair=sentence2"),
    "multi_label": ("--config.task.text=sentence1",),
    "regression": ("--config.task.text=sentence1",),
    "similarity": ("--config.task.label=label",),
    "tagging": ("--config.task.columns=tokens,tags",),
    "extraction": ("--config.task.format=squad",),
    "choice": (),
}
FIRST = {
    "classification": r"c\d \d+%(  it is c\d)?",
    "multi_label": r"(no class|[ab] \d+%)",
    "regression": r"\S+ said, \d true, \S+ off",
    "similarity": r"\S+ said, \S+ true \(\d of 5\), \S+ off",
    "tagging": r"(no entity|\d (right|missed|invented))",
    "extraction": r"\w+.*",
    "choice": r"option \d \d+%",
}


def some(folder, task: str, name: str, count: int) -> str:
    if task in ("tagging", "extraction", "choice"):
        return written(folder, task, count, name)
    return table(folder, task, name, count)


@pytest.mark.slow
@pytest.mark.parametrize("task", FIELDS)
def test_a_run_of_every_task_shows_its_examples(reference, tmp_path, task):
    files = {name: some(tmp_path, task, name, n) for name, n in (("train", 16), ("dev", 6))}
    done = verb.forked(
        f"{CONFIG}:{reference.workdir},task={task}",
        *(f"--config.task.{name}={path}" for name, path in files.items()),
        *(f"--workdir={tmp_path}/run", *SMALL, *FIELDS[task], "--config.task.epochs=1"),
    )
    assert done.code == 0, done.err
    words = [f"--model={tmp_path}/run", f"--data={files['dev']}", "--show=5"]
    done = verb.forked(*words, f"--items={tmp_path}/items", verb="evaluate")
    assert done.code == 0, done.err
    found = [line for line in done.out.splitlines() if line.endswith(")") and line[0] != " "]
    assert len(found) >= 5 and all(re.match(FIRST[task], line) for line in found[:5]), done.out
    items = [json.loads(line) for line in (tmp_path / "items").open()]
    assert len(items) == 6
    if task == "extraction":
        for item in items:
            start, said = item["predicted_start"], item["predicted"]
            assert item["context"][start : start + len(said)] == said
