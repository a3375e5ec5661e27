"""How answers are compared, and texts cut into windows."""

import math

import pytest

from plmjax.evals.in_context.answers import exact_match, f1, measured, parts
from plmjax.evals.in_context.perplexity import TextLikelihood, windows
from plmjax.evals.in_context.results import mean_row, table


@pytest.mark.parametrize(
    ("text", "answers", "exact", "overlap"),
    [
        ("The Eiffel Tower", ["Eiffel tower", "tower"], 1, 1),
        ("in Paris, France.", ["Paris"], 0, 1 / 2),
        ("", ["nothing"], 0, 0),
        ("the", [""], 1, 1),
        ("a b c c", ["c c d", "b"], 0, 2 / 3),
        ("U.S. -- the 'new' one", ["us new one"], 1, 1),
        ("another an", ["another"], 1, 1),
        ("c c c", ["c"], 0, 1 / 2),
    ],
)
def test_english_is_compared_as_by_squads_official_script(text, answers, exact, overlap):
    """What compute_exact and compute_f1 of its evaluate-v2.0.py give."""
    assert exact_match(text, answers, "en") == exact
    assert f1(text, answers, "en") == pytest.approx(overlap)


@pytest.mark.parametrize(
    ("text", "answer", "expected"),
    [
        ("北京。", "北京", 1.0),
        ("《红楼梦》", "红楼梦", 1.0),
        ("北京市", "北京", 0.8),
        ("1998年", "1998 年", 1.0),
        ("1998年", "1999年", 0.5),
        ("上海", "北京", 0.0),
        ("Python 语言", "python语言", 1.0),
    ],
)
def test_chinese_is_compared_by_characters(text, answer, expected):
    assert f1(text, [answer], "zh") == pytest.approx(expected)
    assert exact_match(text, [answer], "zh") == (expected == 1.0)


def test_a_number_keeps_its_sign_where_it_has_to_be_equal():
    assert parts("-5", "en") == parts("5", "en")
    assert not measured("exact", " -5", ["5"], "en") and measured("exact", " 5\t", [" 5"], "en")


@pytest.mark.parametrize("tokens", [1, 3, 8, 9, 10, 33])
@pytest.mark.parametrize("stride", [0, 8, 5, 1])
def test_windows_score_each_token_once_with_all_the_context_there_is(tokens, stride):
    found, scored = list(windows(tokens, 8, stride)), []
    for first, begin, end in found:
        assert end - first - 1 == 8 or (first, begin) == (0, 0)
        assert 0 <= first <= begin < end and end - begin <= 8
        scored += range(begin, end)
    assert scored == list(range(tokens))
    assert all(end - begin == (stride or 8) for _, begin, end in found[1:-1])


def test_perplexity_is_by_what_is_named():
    total = TextLikelihood(-20.0, 10, 5, 20, 40) + TextLikelihood(-4.0, 2, 1, 4, 8)
    assert total == TextLikelihood(-24.0, 12, 6, 24, 48)
    found = total.figures()
    assert found["perplexity per token"] == pytest.approx(math.exp(2))
    assert found["perplexity per word"] == pytest.approx(math.exp(4))
    assert found["perplexity per byte"] == pytest.approx(math.exp(0.5))
    assert found["bits per byte"] == pytest.approx(0.5 / math.log(2))


def test_a_table_has_errors_counts_and_chance():
    row = mean_row("copa", 8, "accuracy (sum)", [1.0, 0.0, 1.0, 1.0], [0.5] * 4)
    assert (row.value, row.count, row.chance) == (0.75, 4, 0.5)
    assert row.error == pytest.approx(0.25)  # the root of .75 * .25 / (4 - 1)
    assert row.to_json() == {
        "task": "copa", "shots": 8, "metric": "accuracy (sum)", "value": 0.75,
        "error": 0.25, "count": 4, "chance": 0.5,
    }  # fmt: skip
    text = table([row, mean_row("copa", 0, "em", [1.0], group="why")])
    assert text.splitlines() == [
        "task       shots  metric           value  ± error  items  chance",
        "copa           8  accuracy (sum)   75.0%    25.0%      4   50.0%",
        "copa: why      0  em              100.0%        -      1       -",
    ]
