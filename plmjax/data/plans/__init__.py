"""What a training example is: from a global example index to token ranges, and to rows."""

from plmjax.data.plans.base import Plan
from plmjax.data.plans.blocks import Blocks
from plmjax.data.plans.electra import ElectraSegments
from plmjax.data.plans.examples import Examples, Split
from plmjax.data.plans.layout import FRAMES, Layout
from plmjax.data.plans.mixed import MixedPlan
from plmjax.data.plans.multi_task import MultiTask
from plmjax.data.plans.packed import Packed
from plmjax.data.plans.pairs import SentenceDistance, SentenceOrder, SentencePairs
from plmjax.data.plans.reordering import SentenceReordering
from plmjax.data.plans.sentences import DocSentences, FullSentences
from plmjax.data.plans.streams import Streams
from plmjax.data.plans.translation import Translation

# Settings by the name that a config gives the plan.
PLANS = {
    "sentence_pairs": SentencePairs,
    "sentence_order": SentenceOrder,
    "sentence_distance": SentenceDistance,
    "sentence_reordering": SentenceReordering,
    "electra_segments": ElectraSegments,
    "full_sentences": FullSentences,
    "doc_sentences": DocSentences,
    "blocks": Blocks,
    "packed": Packed,
    "streams": Streams,
    "translation": Translation,
    "multi_task": MultiTask,
}

__all__ = [
    "FRAMES",
    "PLANS",
    "Blocks",
    "DocSentences",
    "ElectraSegments",
    "Examples",
    "FullSentences",
    "Layout",
    "MixedPlan",
    "MultiTask",
    "Packed",
    "Plan",
    "SentenceDistance",
    "SentenceOrder",
    "SentencePairs",
    "SentenceReordering",
    "Split",
    "Streams",
    "Translation",
]
