import numpy as np
import pytest

from plmjax.errors import UserError
from plmjax.evals.poetry.copying import Copies
from plmjax.evals.poetry.measures import Tones, distinct, is_valid, obeyed, rhymes, tones
from plmjax.evals.poetry.report import Shape, Written, measured, table
from plmjax.evals.poetry.sounds import LEVEL, OBLIQUE, mandarin, rhyme_book
from tests.evals.poetry.poems import QIJUE, QILU, SHAPES, WUJUE, WULU, lines
from tests.requires import need

PINGSHUI = """
# of the rhyme book Pingshui, what these poems need
平 十一尤 流楼
平 十二侵 深心金簪
上 十五潸 一东
入 四质 一日
"""


@pytest.fixture
def book(tmp_path):
    path = tmp_path / "book.txt"
    path.write_text(PINGSHUI)
    return rhyme_book(str(path))


@pytest.fixture(scope="module")
def today():
    need("pypinyin", "pip install -r requirements-ci.txt")
    return mandarin()


@pytest.mark.parametrize("body", SHAPES)
def test_real_poems_have_their_form_and_no_other(body):
    assert is_valid(body, *SHAPES[body])
    assert not any(is_valid(body, *shape) for shape in SHAPES.values() if shape != SHAPES[body])


@pytest.mark.parametrize(
    "body",
    [
        WUJUE[:-1],  # no mark at the end
        WUJUE.replace("流。", "流，"),
        WUJUE.replace("尽，黄", "，尽黄"),  # lines of four and six
        WUJUE.replace("白", ""),
        WUJUE + "月",
        WUJUE.replace("白", "、"),
        WUJUE.replace("白", "["),
        "",
    ],
)
def test_what_is_no_wujue(body):
    assert not is_valid(body, 5, 4)


@pytest.mark.parametrize("body", [WUJUE, QIJUE])
def test_real_poems_rhyme_today(body, today):
    assert rhymes(lines(body), today)


def test_what_no_longer_rhymes_today_does_by_the_book(today, book):
    """深 and 心 are shen and xin, one track; 簪 is zan now. And 来 is lai, but 回 is hui."""
    assert rhymes(lines(WULU), today) is False
    assert rhymes(lines(WULU), book) is True
    assert rhymes(lines(QILU), today) is False


def test_rhymes_of_made_up_lines(today):
    assert rhymes(("一一", "山间", "一一", "天边"), today)  # an and ian
    assert not rhymes(("一一", "山间", "一一", "春风"), today)
    assert rhymes(("一一", "山间"), today) is None
    assert rhymes(("一一", "山龘", "一一", "天边"), lambda c: today(c) if c != "龘" else []) is None


def test_sounds(today, book):
    assert {tone for _, tone in today("山")} == {LEVEL}
    assert {tone for _, tone in today("月")} == {OBLIQUE}
    assert {tone for _, tone in today("重")} == {LEVEL, OBLIQUE}  # chóng and zhòng
    assert today("，") == frozenset()
    assert book("一") == {("上十五潸", OBLIQUE), ("入四质", OBLIQUE)}
    assert book("龘") == frozenset()


def sound(character: str):
    return {"p": {("1", LEVEL)}, "z": {("2", OBLIQUE)}, "b": {("1", LEVEL), ("2", OBLIQUE)}}.get(
        character, frozenset()
    )


MODEL = ("zzppz", "ppzzp", "pppzz", "zzzpp")
"""仄仄平平仄，平平仄仄平。平平平仄仄，仄仄仄平平。"""


def test_the_model_pattern_keeps_all_rules():
    # 4 in lines, 4 of couplets, 1 between them, 3 of line ends.
    assert tones(MODEL, sound) == Tones(12, 0)


@pytest.mark.parametrize(
    ("line", "changed", "broken"),
    [
        (1, "ppzzz", 1),  # a rhyme that is oblique
        (2, "pppzp", 1),  # an odd line that ends level
        (2, "pzpzz", 3),  # the second: in its line, to the next line, to the line before
        (1, "zpzzp", 0),  # the first is free
        (3, "bbbbb", 0),  # some reading keeps them
    ],
)
def test_broken_rules_are_counted(line, changed, broken):
    changed_lines = [*MODEL[:line], changed, *MODEL[line + 1 :]]
    assert tones(changed_lines, sound).broken == broken


def test_unknown_sounds_are_not_looked_at():
    assert tones(("?????",) * 4, sound) == Tones(0, 0)


def test_regulated_poems_break_few_rules_and_shuffled_ones_many(today):
    rng = np.random.default_rng(0)
    real = shuffled = rules = 0
    for body in (WUJUE, QIJUE, QILU):
        found = tones(lines(body), today)
        rules, real = rules + found.rules, real + found.broken
        for _ in range(20):
            mixed = rng.permutation(list("".join(lines(body))))
            width = SHAPES[body][0]
            rows = ["".join(mixed[at : at + width]) for at in range(0, len(mixed), width)]
            shuffled += tones(rows, today).broken
    assert real / rules < 0.15  # entering tones that are level today
    assert shuffled / (20 * rules) > 0.25  # some characters have two tones


def test_distinct_counts_rows_within_lines():
    assert distinct([("abc", "abd")]) == 3 / 4  # ab bc ab bd
    assert distinct([("ab",), ("ba",)]) == 1.0
    assert distinct([]) == 0.0


def test_an_acrostic_is_obeyed_line_by_line():
    assert obeyed(lines(WUJUE), "白黄欲更") == 4
    assert obeyed(lines(WUJUE), "白月欲天") == 2
    assert obeyed((), "白月") == 0


def test_overlap_is_the_longest_row_that_stands_in_one_poem():
    copies = Copies([("abcde", "fghij"), ("klmno", "pqrst")])
    poems = [("abcde", "fghij"), ("xbcdx", "xxxxx"), ("xxxij", "klxxx"), ("xxxdx",), ("yyyyy",)]
    assert copies.longest(poems) == [10, 3, 2, 1, 0]  # ij and kl are of two poems
    assert copies.longest([("cdefg",)]) == [5], "over the end of a line"
    assert copies.lines_taken(("abcde", "xxxxx", "pqrst")) == 2


def test_overlap_equals_a_search_through_all_poems():
    rng = np.random.default_rng(1)
    trained = [("".join(rng.choice(list("abcd"), 12)),) for _ in range(50)]
    poems = [("".join(rng.choice(list("abcd"), 9)),) for _ in range(20)]

    def slow(poem):
        pieces = {poem[0][i:j] for i in range(9) for j in range(i + 1, 10)}
        return max(len(p) for p in pieces if any(p in t[0] for t in trained))

    assert Copies(trained).longest(poems) == [slow(poem) for poem in poems]


def test_a_report_of_people_and_of_nonsense(today):
    copies = Copies([lines(WUJUE)])
    people = [Written(b, lines(b), "".join(x[0] for x in lines(b))) for b in (WUJUE, WUJUE[:-1])]
    found = measured(people, Shape(5, 4), today, copies, compared=1)
    assert (found.valid, found.rhymed, found.obeyed, found.obeyed_lines) == (0.5, 1.0, 1.0, 1.0)
    assert (found.longest_overlap, found.lines_taken, found.distinct_2) == (20, 1.0, 1.0)
    other = measured([Written(QIJUE, lines(QIJUE))], Shape(7, 4), today, copies)
    assert other.obeyed is None and other.valid == 1.0 and other.lines_taken == 0.0
    answers = [Written(body, lines(body), width=5) for body in ("黄河入海流。", "黄河入海。")]
    second = measured(answers, Shape(0, 1), today, copies)
    assert (second.valid, second.rhymed, second.broken_tones) == (0.5, None, None)
    printed = table({"wujue": found, "other": other}).splitlines()
    assert printed[2].startswith("| wujue | 2 | 50.0% | 100.0% |")
    assert len({row.count("|") for row in printed}) == 1


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("平 东\n", "line 1 is no tone, rhyme and characters"),
        ("# nothing\n", "has no rhymes"),
        ("阴 一东 东\n", "line 1 is no tone"),
    ],
)
def test_a_rhyme_book_of_another_form_is_one_line(tmp_path, text, message):
    path = tmp_path / "book.txt"
    path.write_text(text)
    with pytest.raises(UserError, match=message):
        rhyme_book(str(path))
    with pytest.raises(UserError, match="cannot be read"):
        rhyme_book(str(tmp_path / "none"))


def test_without_pypinyin_the_error_says_what_to_install(monkeypatch):
    monkeypatch.setitem(__import__("sys").modules, "pypinyin", None)
    with pytest.raises(UserError, match=r"pip install .*or give --rhyme_book=FILE"):
        mandarin()
