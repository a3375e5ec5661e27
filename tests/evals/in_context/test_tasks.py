"""Tasks from their files, items from their lines, prompts from both."""

import json

import pytest

from plmjax.errors import UserError
from plmjax.evals.in_context.prompts import draw, example, prompt
from plmjax.evals.in_context.splits import TASKS, Options, find_task, listed, splits
from plmjax.evals.in_context.tasks import Item, Task, read_items, read_task

SHIPPED = sorted(TASKS.glob("*.toml"))
ITEMS = {
    "arc": {"question": "Why?", "choices": ["a", "b", "c"], "answer": "B"},
    "boolq": {"passage": "P.", "question": "is it", "label": True},
    "context_options": {"context_options": ["A", "B"], "continuation": "c.", "gold": 1},
    "lambada": {"text": "one two three"},
    "lambada_blank": {"text": "one two three"},
    "ocnli": {"sentence1": "一", "sentence2": "二", "label": "neutral"},
    "query_choices": {"query": "q", "choices": ["x", "y"], "gold": 0},
    "question_answer": {"question": "who?", "answer": ["me", "I"]},
    "reading": {"context": "c", "question": "q", "answer": "a"},
    "reading_zh": {"context": "文", "question": "问", "answer": ["答"]},
    "tnews": {"sentence": "新闻", "label": "104"},
}
EXPECTED = {
    "arc": ("Question: Why?\nAnswer:", " b"),
    "boolq": ("P.\nquestion: is it?\nanswer:", " yes"),
    "context_options": ("B", " c."),
    "lambada": ("one two", " three"),
    "lambada_blank": ("one two ____. →", " three"),
    "ocnli": ("一？也许，", "二"),
    "query_choices": ("q", " x"),
    "question_answer": ("Q: who?\n\nA:", " me"),
    "reading": ("c\n\nQ: q\n\nA:", " a"),
    "reading_zh": ("阅读文章：文\n问：问\n答：", "答"),
    "tnews": ("这是关于财经的文章：", "新闻"),
}


def item(fields, number=3):
    return Item(fields, f"data.jsonl, line {number}", number)


def lines(path, *records):
    path.write_text("".join(json.dumps(r, ensure_ascii=False) + "\n" for r in records))
    return path


@pytest.mark.parametrize("path", SHIPPED, ids=[path.stem for path in SHIPPED])
def test_shipped_tasks_say_what_they_are_and_give_the_published_prompts(path):
    task = read_task(path)
    assert path.read_text().startswith("# ") and f"{path.stem}  " in listed()
    if task.test:
        data = splits(task, Options())
        assert data.shared and {len(each.options) for each in data.test} == {4}
        assert {each.gold for each in data.test} == {0, 1, 2, 3}
    elif path.stem != "chid":
        made = example(task, item(ITEMS[path.stem]))
        piece = made.pieces[made.gold]
        assert (piece.before, piece.text, piece.after) == (*EXPECTED[path.stem], "")


def test_the_probes_have_the_same_kinds_in_both_languages():
    groups = [
        {each.group for each in splits(find_task(name), Options()).test}
        for name in ("probes_en", "probes_zh")
    ]
    assert groups[0] == groups[1] == {"grammar", "common sense", "relation", "mathematics"}


def test_a_prompt_has_description_examples_and_item_with_separators_between():
    task = Task(context="Q{n}:", options="{choices}", description="Answer.", separator="\n")
    made = [example(task, item({"n": n, "choices": ["a", "b"], "answer": n % 2})) for n in (1, 2)]
    assert prompt(task, made, "Q3:") == "Answer.\nQ1: b\nQ2: a\nQ3:"
    assert prompt(task, [], "Q3:") == "Answer.\nQ3:"
    bare = Task(context="Q{n}:", options="{choices}", separator="")
    assert prompt(bare, made, "\nQ3:") == "Q1: bQ2: a\nQ3:"


def test_a_blank_splits_its_text():
    task = Task(kind="cloze", options="{options}")
    made = example(task, item({"text": "The ____ sat.", "options": ["cat", "mat"], "answer": 1}))
    assert [(p.before, p.text, p.after) for p in made.pieces] == [
        ("The ", "cat", " sat."),
        ("The ", "mat", " sat."),
    ]
    assert made.shown == "The mat sat."
    with pytest.raises(UserError, match="line 3: there is no blank '____' in 'The cat'"):
        example(task, item({"text": "The cat", "options": ["a", "b"], "answer": 0}))


@pytest.mark.parametrize(
    ("answer", "gold"), [(1, 1), ("1", 1), ("B", 1), ("b", 1), ("red", 0), ("C", 2), (True, 1)]
)
def test_ways_to_say_which_option_is_right(answer, gold):
    task = Task(options=["red", "green", "{third}"])
    assert example(task, item({"third": "blue", "answer": answer})).gold == gold


def test_wrong_options_are_drawn_with_the_seed():
    task = Task(labels={str(n): f"label {n}" for n in range(15)}, negatives=3)
    made = [example(task, item({"answer": "7"}, n), seed) for n in range(20) for seed in (0, 1)]
    assert all(len(each.options) == 4 and each.options[each.gold] == "label 7" for each in made)
    assert made[0] == example(task, item({"answer": "7"}, 0), 0)
    assert len({each.options for each in made}) > 30


def test_examples_of_fewer_shots_are_the_first_of_those_of_more():
    drawn = draw(8, 50, seed=1, item=3)
    assert drawn[:3] == draw(3, 50, seed=1, item=3) and len(set(drawn)) == 8
    assert drawn != draw(8, 50, seed=1, item=4) and drawn != draw(8, 50, seed=2, item=3)
    for own in range(9):
        assert sorted(draw(8, 9, 0, own, without=own)) == [n for n in range(9) if n != own]
    assert draw(0, 0, 0, 0) == []


def test_blanks_of_chid_are_items_and_other_blanks_are_empty(tmp_path):
    line = {
        "candidates": ["一心一意", "三心二意"],
        "content": ["他#idiom000001#，我#idiom000002#。"],
    }
    path = lines(tmp_path / "dev.json", line)
    (tmp_path / "dev_answer.json").write_text('{"#idiom000001#": 0, "#idiom000002#": 1}')
    task = find_task("chid")
    made = [example(task, each) for each in read_items(path, task, "--data")]
    assert [each.pieces[each.gold].whole for each in made] == [
        "他一心一意，我。",
        "他，我三心二意。",
    ]
    path = lines(tmp_path / "more.json", line)
    (tmp_path / "more_answer.json").write_text('{"#idiom000001#": 0}')
    with pytest.raises(UserError, match=r"line 1: there is no answer for #idiom000002#"):
        read_items(path, task, "--data")
    few = {"candidates": ["一心一意", "三心二意"], "content": "他#idiom#。", "answer": 1}
    (item,) = read_items(lines(tmp_path / "few.json", few), task, "--data")
    assert example(task, item).shown == "他三心二意。"
    with pytest.raises(
        UserError, match="line 1 has no content, as ChID has; there are: candidates"
    ):
        read_items(lines(tmp_path / "no.json", {"candidates": [], "text": ""}), task, "--data")


def test_items_may_be_left_out(tmp_path):
    task = find_task("ocnli")
    some = [{"sentence1": "a", "sentence2": "b", "label": label} for label in ("-", "neutral")]
    assert len(read_items(lines(tmp_path / "dev.json", *some), task, "--data")) == 1
    with pytest.raises(UserError, match="has no item that belongs to the task"):
        read_items(lines(tmp_path / "dev.json", some[0]), task, "--data")


@pytest.mark.parametrize(
    ("task", "fields", "message"),
    [
        (
            {"context": "{query}", "options": ["a", "b"]},
            {"question": "q", "answer": 0},
            "line 3: context='{query}' needs the field 'query', and there are: question, answer",
        ),
        (
            {"options": "{choices}"},
            {"choices": "a b", "answer": 0},
            "line 3: options='{choices}' is str 'a b', expected a list of two or more",
        ),
        (
            {"options": ["a", "b"]},
            {"answer": 2},
            "line 3: the answer '2' is none of 2 options; give its number from 0",
        ),
        (
            {"labels": {"true": "yes", "false": "no"}},
            {"answer": "maybe"},
            "line 3: the answer 'maybe' is not one of the labels true, false",
        ),
        (
            {"kind": "greedy", "last_word": "{text}"},
            {"text": "alone"},
            "line 3: 'alone' has no last word behind others",
        ),
        ({"kind": "answer"}, {"answer": []}, "line 3: the answer '{answer}' is an empty list"),
        (
            {"context": "{option}", "completion": "{s}", "options": ["a", "b"]},
            {"s": "", "answer": 0},
            "line 3: completion='{s}' is empty; leave the item out",
        ),
        ({"options": ["{a", "b"]}, {"answer": 0}, "options='{a' is no template"),
    ],
)
def test_items_that_do_not_fit_are_named_with_their_line(task, fields, message):
    with pytest.raises(UserError) as raised:
        example(Task(**task), item(fields))
    assert message in str(raised.value) and "\n" not in str(raised.value)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (
            'kind = "choise"\noptions = "{a}"',
            "task.kind='choise' is unknown; did you mean 'choice'?",
        ),
        ('optoins = "{a}"', "'optoins' is not a field of a task; did you mean 'options'?"),
        ('context = "{a}"', "kind='choice' needs options or labels, and there are none"),
        ("options = 3", "options=3; expected one template or a list of them"),
        ('options = "{a}"\nnormalise = ["words"]', "normalise='words' is unknown"),
        ('options = "{a}"\nshots = ', "is no task's file: Invalid value"),
        ('options = "{a}"\nnegatives = "3"', "negatives='3' is a str, expected an int"),
    ],
)
def test_files_that_are_no_tasks_say_why(tmp_path, text, message):
    path = tmp_path / "mine.toml"
    path.write_text(text)
    with pytest.raises(UserError) as raised:
        read_task(path)
    assert str(raised.value).startswith(f"{path}") and message in str(raised.value)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "has no item; write one object a line"),
        ('{"a": 1}\n{"a": \n', "line 2 is no JSON"),
        ('[{"a": 1}]\n', "line 1 is no object with fields"),
    ],
)
def test_files_without_items_say_why(tmp_path, text, message):
    path = tmp_path / "data.jsonl"
    path.write_text(text)
    with pytest.raises(UserError, match=message):
        read_items(path, Task(options=["a", "b"]), "--data")
    with pytest.raises(UserError, match="there is no file"):
        read_items(tmp_path / "none.jsonl", Task(options=["a", "b"]), "--data")
