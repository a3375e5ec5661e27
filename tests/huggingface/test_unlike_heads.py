"""Runs whose rows no class of transformers makes are not exported with their head."""

import types

import pytest

from plmjax.exported_heads import _unlike

HEAD = types.SimpleNamespace(architecture="GPT2ForSequenceClassification")
CONFIG = {"objective": {"pooling": "auto"}, "data": {"frame": "eod"}, "task": {}}


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"data": {"frame": "gpt1"}}, "without the tokens that frame='gpt1' adds"),
        ({"task": {"both_orders": True}}, "reads a pair once, and both_orders=True"),
    ],
)
def test_what_is_read_otherwise_is_said(changes, said):
    run = types.SimpleNamespace(record={"config": CONFIG | changes}, family_name="gpt")
    assert said in _unlike(run, HEAD, "")
