"""From what a collection holds to a poem with a form, or the reason why it is left out."""

import re

from plmjax.data.poetry.forms import Poem, lines_of, regular_body, regular_form
from plmjax.data.poetry.reading import Record

NO_TEXT = "without text"
UNREADABLE = "with missing or unreadable characters"
NO_FORM = "of other forms"
NO_TUNE = "ci without a tune"
TOO_LONG = "too long"
REASONS = (NO_TEXT, UNREADABLE, NO_FORM, NO_TUNE, TOO_LONG)
"""Why a poem is left out, but for being there twice."""

_HAN = "々〇㐀-䶿一-鿿豈-\ufaff\U00020000-\U0003ffff"
_NOTE = re.compile(
    r"（[^（）]*）|\([^()]*\)|〖[^〖〗]*〗|〈[^〈〉]*〉|〔[^〔〕]*〕|【[^【】]*】|﹝[^﹝﹞]*﹞"
)
# A character in square brackets is what an editor reads there; more of them are a note.
_READ_SO = re.compile(r"\[(.)\]")
_LONG_NOTE = re.compile(r"\[[^\[\]]*\]")
_QUOTES = re.compile("[「」『』“”‘’《》\\s]")
_COMMAS, _STOPS = re.compile("[,;；:：]"), re.compile("[.!?！？．]")
_BODY = re.compile(f"[{_HAN}，。、]+")
_NOT_HAN = re.compile(f"[^{_HAN}]")
_NUMERAL = "一二三四五六七八九十百千零〇两兩廿卅"
_SERIAL = re.compile(f"(其|之|第)?[{_NUMERAL}]+(首|章|绝|絕|韵|韻)?")
_COUNTED = re.compile(f"[{_NUMERAL}]+(首|章)$")
_UNTITLED = {"句", "失题", "失題", "缺题", "缺題", "阙题", "闕題", "无题", "無題", "题缺", "題缺"}
_TUNELESS = {"失调名", "失調名", "失调", "无调名"}


def cleaned(record: Record, longest: int, longest_theme: int) -> Poem | str:
    """The poem of a record, or one of REASONS.

    Notes in brackets, quotation marks and white space go. Poems with signs for missing characters
    (□) or for how a rare one is composed ({亻麗}) are left out. Regular poems get ， and 。 by
    turns, whatever marks they had; ci keep theirs.

    Args:
      record: what was read.
      longest: characters of the whole text with its opening, at most.
      longest_theme: a longer title is left away, and the poem stays.
    """
    body = _without_notes(record.text)
    if not _NOT_HAN.sub("", body):
        return NO_TEXT
    body = _STOPS.sub("。", _COMMAS.sub("，", body))
    if not _BODY.fullmatch(body):
        return UNREADABLE
    if record.tune:
        return _ci(record, body, longest)
    form = regular_form(lines_of(body))
    if not form:
        return NO_FORM
    poem = Poem(form, theme_of(record.title, longest_theme), regular_body(lines_of(body)))
    return poem if len(poem.text) <= longest else TOO_LONG


def theme_of(title: str, longest: int) -> str:
    """The title without notes, numbers in a series and marks; empty where it is none, or longer.

    Of a title with parts, such as those of music bureau poems, it is the last.
    """
    parts = _NOTE.sub(" ", title).split()
    while len(parts) > 1 and _SERIAL.fullmatch(parts[-1]):
        parts.pop()
    name = _NOT_HAN.sub("", parts[-1]) if parts else ""
    name = re.sub(f"其[{_NUMERAL}]+$", "", name)
    name = _COUNTED.sub("", name) or name
    return "" if name in _UNTITLED or len(name) > longest else name


def _ci(record: Record, body: str, longest: int) -> Poem | str:
    tune = _NOT_HAN.sub("", re.split("[·・.（(]", record.tune)[0])
    if not tune or tune in _TUNELESS:
        return NO_TUNE
    poem = Poem("ci", "", body, tune)
    return poem if len(poem.text) <= longest else TOO_LONG


def _without_notes(text: str) -> str:
    before = None
    while before != text:  # notes may stand in notes
        before, text = text, _NOTE.sub("", text)
    return _QUOTES.sub("", _LONG_NOTE.sub("", _READ_SO.sub(r"\1", text)))
