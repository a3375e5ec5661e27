"""Models that were fine-tuned elsewhere: their backbone is imported without the head."""

import numpy as np
import pytest

from plmjax import importing
from plmjax.exporting import open_run
from tests.huggingface import small

torch, transformers = small.torch, small.transformers
CLASSES = {
    "bert": ("BertForSequenceClassification", "classifier"),
    "electra": ("ElectraForTokenClassification", "classifier"),
    "roberta": ("RobertaForSequenceClassification", "classifier.out_proj, classifier.dense"),
    "distilbert": ("DistilBertForSequenceClassification", "classifier, pre_classifier"),
    "modernbert": ("ModernBertForTokenClassification", "classifier"),
    "gpt2": ("GPT2ForSequenceClassification", "score"),
    "xlnet": ("XLNetForQuestionAnsweringSimple", "qa_outputs"),
    "t5": ("T5ForSequenceClassification", "classification_head.out_proj, classification_head"),
}
"""The class, and the layers of its head."""


@pytest.mark.slow
@pytest.mark.parametrize("case", CLASSES)
def test_the_backbone_is_that_of_the_bare_model(case, tmp_path):
    name, head = CLASSES[case]
    kind, family = getattr(transformers, name), small.family_of_case(case)
    settings = {"pad_token_id": 0, **family.to_settings(small.CONFIGS[case][1])}
    more = {} if "Simple" in name else {"num_labels": 3}
    model = small.shuffle(kind(kind.config_class(**settings, **more)))
    lines: list[str] = []
    read = {}
    for what, one in (("tuned", model), ("bare", model.base_model)):
        one.save_pretrained(tmp_path / what)
        small.write_tokenizer(small.vocabulary(), tmp_path / what, 40)
        run = tmp_path / f"{what}-run"
        importing.import_model(str(tmp_path / what), str(run), lines.append)
        read[what] = open_run(str(run), lines.append).parameters
        if what == "tuned":
            assert any(line.startswith("Left out") and head in line for line in lines), lines
    backbone = [path for path in read["bare"].shapes if path.startswith("backbone/")]
    assert len(backbone) > 5
    for path in backbone:
        found, expected = (read[what].read(path) for what in ("tuned", "bare"))
        assert np.array_equal(found, expected), path
