"""Multiple choice: C3, RACE, the Story Cloze Test and ROCStories, COPA.

Rows have `context`, `question` (both str, maybe empty), `options` (list of str) and `label`, the
number of the right option from 0; a file without answers gives rows without `label`.
"""

from collections.abc import Iterator, Sequence
from typing import Any

from etils import epath

from plmjax.data.labelled.delimited import read_csv
from plmjax.data.labelled.json_rows import json_value, read_jsonl
from plmjax.data.labelled.rows import Row, existing, field, shown
from plmjax.errors import UserError


def read_c3(path: str) -> Iterator[Row]:
    """Questions of C3 (https://github.com/nlpdata/c3): [[lines], [{question, choice, answer}], id].

    Yields:
      Rows as above, the lines of a document or dialogue joined by line ends, with `id` of the
      document, `number` of the question in it, from 0, and where a question has an `id`, as in
      CLUE's test files, `question_id`.

    Raises:
      UserError: where the file cannot be read or is of another form, or an answer is no choice.
    """
    data = json_value(path)
    if not isinstance(data, list):
        raise UserError(f"{path} is {shown(data)}, expected C3's array of [lines, questions, id]")
    for number, item in enumerate(data, 1):
        at = f"{path}, item {number}"
        if not isinstance(item, list) or len(item) != 3 or not isinstance(item[1], list):
            raise UserError(f"{at} is not [lines, questions, id], as C3's are")
        context = "\n".join(_texts(item[0], "the document's lines", at))
        for place, question in enumerate(item[1]):
            where = f"{path}, document {item[2]}, question {place + 1}"
            options = _texts(field(question, "choice", list, where), "'choice'", where)
            label = _place(question.get("answer"), options, where)
            text = field(question, "question", str, where)
            own = {"id": str(item[2]), "number": place}
            own |= {"question_id": question["id"]} if "id" in question else {}
            yield _choice(context, text, options, label, where, **own)
    if not data:
        raise UserError(f"{path} has no questions")


def read_race(path: str) -> Iterator[Row]:
    """Questions of RACE (https://www.cs.cmu.edu/~glai1/data/race).

    Args:
      path: a file with one object {article, questions, options, answers, id}, or a folder of
        such `.txt` files, maybe in folders `middle` and `high`, read in the order of their paths.

    Yields:
      Rows as above with `id` of the article and `number` of the question in it, from 0. A question
      that is a sentence with a blank has `_` in it.

    Raises:
      UserError: where a file cannot be read or is of another form.
    """
    for file in _race_files(path):
        article = json_value(file)
        context = field(article, "article", str, file)
        questions = _texts(field(article, "questions", list, file), "'questions'", file)
        options = field(article, "options", list, file)
        answers = field(article, "answers", list, file) if "answers" in article else []
        counts = {"options": len(options)} | ({"answers": len(answers)} if answers else {})
        for name, count in counts.items():
            if count != len(questions):
                raise UserError(f"{file} has {len(questions)} 'questions' and {count} '{name}'")
        for number, question in enumerate(questions):
            where = f"{file}, question {number + 1}"
            texts = _texts(options[number], "'options'", where)
            label = _letter(answers[number], texts, where) if answers else None
            name = article.get("id", epath.Path(file).name)
            yield _choice(context, question, texts, label, where, id=str(name), number=number)


def read_story_cloze(path: str) -> Iterator[Row]:
    """Stories of the Story Cloze Test's csv (https://cs.rochester.edu/nlp/rocstories).

    Yields:
      Rows as above: `context` is the four sentences with blanks between them, `sentences` they
      apart, `options` the two endings, and `id`.

    Raises:
      UserError: where the file cannot be read or is of another form.
    """
    for row in read_csv(path):
        fields, where = row.fields, row.where
        names = [f"InputSentence{number}" for number in range(1, 5)]
        sentences = [field(fields, name, str, where) for name in names]
        options = [
            field(fields, f"RandomFifthSentenceQuiz{number}", str, where) for number in (1, 2)
        ]
        label = None
        if "AnswerRightEnding" in fields:
            answer = fields["AnswerRightEnding"].strip()
            if answer not in ("1", "2"):
                raise UserError(f"{where} has the AnswerRightEnding '{answer}', expected 1 or 2")
            label = int(answer) - 1
        own = {"sentences": sentences, "id": fields.get("InputStoryid", "")}
        yield _choice(" ".join(sentences), "", options, label, where, **own)


def read_rocstories(path: str) -> Iterator[Row]:
    """Stories of ROCStories' csv: storyid, storytitle, sentence1 to sentence5.

    Yields:
      Rows with `id`, `title`, `sentences` (list of 5 str) and `text`, they with blanks between.

    Raises:
      UserError: where the file cannot be read or is of another form.
    """
    for row in read_csv(path):
        names = [f"sentence{number}" for number in range(1, 6)]
        sentences = [field(row.fields, name, str, row.where) for name in names]
        about = {"id": field(row.fields, "storyid", str, row.where)}
        about["title"] = row.fields.get("storytitle", "")
        yield Row({**about, "sentences": sentences, "text": " ".join(sentences)}, row.where)


def read_copa(path: str) -> Iterator[Row]:
    """Premises of SuperGLUE's COPA: {premise, choice1, choice2, question, label, idx} a line.

    Yields:
      Rows as above: `context` is the premise, `question` cause or effect, with `id`.

    Raises:
      UserError: where the file cannot be read or is of another form.
    """
    for row in read_jsonl(path):
        fields, where = row.fields, row.where
        options = [field(fields, name, str, where) for name in ("choice1", "choice2")]
        label = field(fields, "label", int, where) if "label" in fields else None
        texts = (field(fields, name, str, where) for name in ("premise", "question"))
        own = {"id": fields["idx"]} if "idx" in fields else {}
        yield _choice(*texts, options, label, where, **own)


def _choice(
    context: str, question: str, options: Sequence[str], label: int | None, where: str, **own: Any
) -> Row:
    if label is not None and not 0 <= label < len(options):
        raise UserError(f"{where} has the label {label}, expected 0 to {len(options) - 1}")
    fields = {"context": context, "question": question, "options": list(options)}
    return Row({**fields, **({} if label is None else {"label": label}), **own}, where)


def _texts(value: Any, what: str, where: str) -> list[str]:
    if not isinstance(value, list):
        raise UserError(f"{where} has {shown(value)} as {what}, expected a list of texts")
    for text in value:
        if not isinstance(text, str):
            raise UserError(f"{where} has {shown(text)} in {what}, expected text")
    return value


def _place(answer: Any, options: list[str], where: str) -> int | None:
    """The number of the option that is the answer; None where there is no answer."""
    if answer is None or answer == "":
        return None
    if answer not in options:
        raise UserError(
            f"{where} has the answer {shown(answer)}, which is none of {', '.join(options)}"
        )
    return options.index(answer)


def _letter(answer: Any, options: list[str], where: str) -> int:
    """The number of an option by its letter."""
    letters = "ABCDEFGHIJ"[: len(options)]
    if not isinstance(answer, str) or len(answer) != 1 or answer not in letters:
        raise UserError(f"{where} has the answer {shown(answer)}, expected one of {letters}")
    return letters.index(answer)


def _race_files(path: str) -> list[str]:
    folder = epath.Path(path).expanduser()
    if not folder.is_dir():
        return [str(existing(path))]
    files = [*folder.glob("*.txt"), *folder.glob("*/*.txt"), *folder.glob("*/*/*.txt")]
    if not files:
        raise UserError(f"{path} has no .txt files, as RACE's folders have; give another folder")
    return sorted(map(str, files))
