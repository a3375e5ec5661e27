"""The labelled tasks there are, by the names that `config.task.name` gives."""

from collections.abc import Mapping

from plmjax.data.labelled.base import LabelledTask
from plmjax.data.labelled.blanks import Blanks
from plmjax.data.labelled.extraction import Extraction
from plmjax.data.labelled.filling import Filling
from plmjax.data.labelled.mentions import Mentions
from plmjax.data.labelled.options import Choice
from plmjax.data.labelled.similarity import Similarity
from plmjax.data.labelled.tagging import Tagging
from plmjax.data.labelled.text_tasks import Classification, MultiLabel, Regression
from plmjax.data.labelled.text_to_text import TextToText
from plmjax.data.labelled.verification import Verification

LABELLED_TASKS: Mapping[str, type[LabelledTask]] = {
    "classification": Classification,
    "multi_label": MultiLabel,
    "regression": Regression,
    "tagging": Tagging,
    "extraction": Extraction,
    "choice": Choice,
    "similarity": Similarity,
    "mentions": Mentions,
    "verification": Verification,
    "filling": Filling,
    "blanks": Blanks,
    "text_to_text": TextToText,
}
"""Settings by name."""
