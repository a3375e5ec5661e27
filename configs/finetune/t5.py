"""GLUE, SuperGLUE and SQuAD told as text, as T5 is fine-tuned on them, from a pretrained run.

  python -m plmjax.main --config=configs/finetune/t5.py:sst2,init_from=RUN \
      --config.task.folder=glue_data/SST-2

The argument is a task: cola, sst2, mrpc, qqp, stsb, mnli, qnli, rte, wnli; boolq, cb, copa,
multirc, record, superglue/rte, wic; squad1; and the workdir of a run of T5, BART or GPT, pretrained
here or imported from Hugging Face's files. The folder has the files of the task as published.

Published: sources of 512 tokens, 128 a batch, Adafactor at 1e-3, dropout 0.1, 2^18 steps, answers
taken token by token (Raffel et al. 2020, section 3.1.2); here three epochs, which
--config.task.epochs changes. Runs of BART and GPT have Adam at 2e-5.
"""

from plmjax.recipes import text_config


def get_config(argument=None):
    return text_config(argument)
