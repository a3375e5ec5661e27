"""What is said of a published labelled set: its files, fields, labels and metrics."""

import dataclasses
from collections.abc import Mapping

from plmjax.errors import UserError
from plmjax.settings import choose

KINDS = {
    "classes": "one of the labels",
    "score": "a number",
    "tags": "a label for each token",
    "span": "a span of the text, or none",
    "choice": "one of the row's own options",
    "tree": "a head for each token, and a relation",
    "answer": "one of the row's own options, of which several may be right",
}
METRICS = (
    "accuracy",
    "accuracy_f1",  # and F1 of the second label
    "accuracy_macro_f1",
    "chid",  # accuracy of blanks, a candidate used once in a group
    "choice_accuracy",
    "cmrc",
    "entity_f1",
    "matthews",
    "multirc",  # F1 over answers, exact match of questions
    "pearson_spearman",
    "record",
    "squad1",
    "squad2",
    "uas_las",
)


@dataclasses.dataclass(frozen=True)
class Split:
    """The files of a split.

    Attributes:
      files: what distributions call it; the first that is there counts. `a + b` are two files that
        belong together.
      labelled: whether the published files have labels; the rows of others may lack them.
      columns: of files without a header line.
      format: where it is another than the benchmark's.
      only: fields and their values, of files that hold more than the split: XNLI's languages.
    """

    files: tuple[str, ...]
    labelled: bool = True
    columns: tuple[str, ...] = ()
    format: str = ""
    only: Mapping[str, str] = dataclasses.field(default_factory=dict)


@dataclasses.dataclass(frozen=True)
class Benchmark:
    """A published labelled set.

    Attributes:
      kind: one of KINDS, what a row's label is.
      splits: by name, `train`, `dev` and `test` where there is one of each.
      metrics: some of METRICS, the benchmark's own first.
      text, second: the fields with a row's text and its second text; "" for none. Of a question
        about a text, `text` is the text and `second` the question.
      others: further fields that a row's text is made of: MultiRC's answer, WiC's word.
      label: the field with the label; of a tree, the heads (its relations are `deprel`); of a
        span, the texts of the answers.
      options: the field with a row's own options.
      labels: the labels' names as their files write them (numbers as digits, true and false in
        small letters), in the order of the set's own or Google BERT's code, which numbers them
        from 0; of `tags`, the types of entities, or all tags where they are no entities.
      aliases: labels that files write otherwise, and which they are.
      dropped: labels of rows that the convention leaves out, of which annotators did not agree.
      format: of its files, one of `read_rows`.
      columns: of `columns` files.
    """

    kind: str
    splits: Mapping[str, Split]
    metrics: tuple[str, ...]
    text: str
    second: str = ""
    others: tuple[str, ...] = ()
    label: str = "label"
    options: str = ""
    labels: tuple[str, ...] = ()
    aliases: Mapping[str, str] = dataclasses.field(default_factory=dict)
    dropped: tuple[str, ...] = ()
    format: str = ""
    columns: tuple[str, ...] = ()

    def __post_init__(self):
        choose(self.kind, KINDS, "kind")
        for metric in self.metrics:
            choose(metric, dict.fromkeys(METRICS), "metric")
        if not self.splits or not self.metrics:
            raise UserError("a benchmark needs splits and metrics")


def splits(train: str = "", dev: str = "", test: str = "", *, hidden: bool = True) -> dict:
    """Splits of files named as `a.tsv|b.tsv`, alternatives; `hidden`: the test has no labels."""
    given = {"train": (train, True), "dev": (dev, True), "test": (test, not hidden)}
    return {
        name: Split(tuple(files.split("|")), labelled)
        for name, (files, labelled) in given.items()
        if files
    }
