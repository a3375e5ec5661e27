"""How alike two sentences are, by an embedding of each: the STS benchmark, as Sentence-BERT does.

  python -m plmjax.main --config=configs/finetune/similarity.py:RUN \
      --config.task.folder=stsbenchmark --workdir=TUNED
  python -m plmjax.evaluate --model=TUNED --data=test

The argument is the workdir of a run; with fresh=true behind it the backbone begins anew. The folder
has sts-train.tsv or .csv, sts-dev and sts-test. Sentences of one's own: own.py:RUN,task=similarity.

Published (Reimers & Gurevych 2019, section 4.2; sentence-transformers training_stsbenchmark.py):
batches of 16, 4 epochs at 2e-5, a tenth of them warm-up, the mean of a sentence's tokens.
"""

from plmjax.finetuning import tuned_config
from plmjax.recipes import Recipe, followed
from plmjax.settings import parse_argument

SBERT = Recipe(16, 2e-5, 4, pooling="mean")


def get_config(argument=None):
    given = parse_argument(argument, "init_from", init_from="", fresh=False)
    fields = {"benchmark": "sts_benchmark", "train": "train", "dev": "dev"}
    return followed(tuned_config(given.init_from, "similarity", given.fresh, **fields), SBERT)
