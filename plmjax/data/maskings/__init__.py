"""Maskings and noises: published settings, bound to a vocabulary, applied to whole batches."""

from plmjax.data.maskings.base import BoundMasking, Masking, MaskingVocabulary
from plmjax.data.maskings.bernoulli import XlmMasking
from plmjax.data.maskings.causal import CausalTargets, PrefixTargets
from plmjax.data.maskings.denoising import Denoising
from plmjax.data.maskings.ngram import NgramMasking
from plmjax.data.maskings.probabilistic import ProbabilisticMasking
from plmjax.data.maskings.span import SpanMasking
from plmjax.data.maskings.span_corruption import SpanCorruption
from plmjax.data.maskings.token import BertMasking, ElectraMasking, RobertaMasking
from plmjax.data.maskings.unit import UnitMasking
from plmjax.data.maskings.whole_word import WholeWordMasking

__all__ = [
    "BertMasking",
    "BoundMasking",
    "CausalTargets",
    "Denoising",
    "ElectraMasking",
    "Masking",
    "MaskingVocabulary",
    "NgramMasking",
    "PrefixTargets",
    "ProbabilisticMasking",
    "RobertaMasking",
    "SpanCorruption",
    "SpanMasking",
    "UnitMasking",
    "WholeWordMasking",
    "XlmMasking",
]
