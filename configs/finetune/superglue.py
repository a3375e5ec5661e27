"""SuperGLUE (Wang et al. 2019): each of its eight tasks, from a pretrained run.

  python -m plmjax.main --config=configs/finetune/superglue.py:wic,init_from=RUN \
      --config.task.folder=superglue/WiC --workdir=TUNED
  python -m plmjax.evaluate --model=TUNED --data=test --submission=WiC.jsonl

The argument is a task: boolq, cb, copa, multirc, record, rte, wic, wsc; and the workdir of a run.
With fresh=true the backbone begins anew. The folder has the files of super.gluebenchmark.com. A run
on rte answers the diagnostic sets:

  python -m plmjax.evaluate --model=TUNED --benchmark=superglue/ax_b --folder=superglue/AX-b \
      --data=test --submission=AX-b.jsonl

and superglue/ax_g. WiC's word, and WSC's noun and pronoun, are marked in what is read (_word_,
[pronoun]); each answer of MultiRC and each entity of ReCoRD is a row of its own.

Published for BERT-large: batches of 4, 10 epochs at 1e-5, rows of 256 tokens (nyu-mll/jiant,
config/superglue_bert.conf), of which the best by the development set counts. There WiC and WSC are
told from the states of the words, here from the whole text.
"""

from plmjax.recipes import Recipe, benchmark_config, suite

TASKS = ("boolq", "cb", "copa", "multirc", "record", "rte", "wic", "wsc")
BERT = Recipe(batch_size=4, learning_rate=1e-5, epochs=10, seq_len=256)


def get_config(argument=None):
    return benchmark_config(argument, suite("superglue", dict.fromkeys(TASKS, BERT)))
