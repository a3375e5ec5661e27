"""Maskings and noises: published settings, bound to a vocabulary, applied to whole batches."""

from plmjax.data.maskings.base import BoundMasking, Masking, MaskingVocabulary
from plmjax.data.maskings.bernoulli import XlmMasking
from plmjax.data.maskings.causal import CausalTargets, PrefixTargets
from plmjax.data.maskings.denoising import Denoising
from plmjax.data.maskings.ngram import NgramMasking
from plmjax.data.maskings.permutation import PermutationTargets
from plmjax.data.maskings.probabilistic import ProbabilisticMasking
from plmjax.data.maskings.similar import SimilarWordMasking
from plmjax.data.maskings.similar_words import SimilarWords, make_similar_words
from plmjax.data.maskings.span import SpanMasking
from plmjax.data.maskings.span_corruption import SpanCorruption
from plmjax.data.maskings.token import BertMasking, ElectraMasking, RobertaMasking
from plmjax.data.maskings.unit import UnitMasking
from plmjax.data.maskings.whole_word import WholeWordMasking

__all__ = [
    "MASKINGS",
    "BertMasking",
    "BoundMasking",
    "CausalTargets",
    "Denoising",
    "ElectraMasking",
    "Masking",
    "MaskingVocabulary",
    "NgramMasking",
    "PermutationTargets",
    "PrefixTargets",
    "ProbabilisticMasking",
    "RobertaMasking",
    "SimilarWordMasking",
    "SimilarWords",
    "SpanCorruption",
    "SpanMasking",
    "UnitMasking",
    "WholeWordMasking",
    "XlmMasking",
    "make_similar_words",
]

# The names that configs use.
MASKINGS = {
    "token": BertMasking,
    "roberta": RobertaMasking,
    "electra": ElectraMasking,
    "xlm": XlmMasking,
    "tlm": XlmMasking,
    "whole_word": WholeWordMasking,
    "ngram": NgramMasking,
    "span": SpanMasking,
    "unit": UnitMasking,
    "similar_word": SimilarWordMasking,
    "probabilistic": ProbabilisticMasking,
    "span_corruption": SpanCorruption,
    "denoising": Denoising,
    "prefix": PrefixTargets,
    "causal": CausalTargets,
    "permutation": PermutationTargets,
}
