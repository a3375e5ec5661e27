"""GLUE (Wang et al. 2018): each of its nine tasks, from a pretrained run.

  python -m plmjax.main --config=configs/finetune/glue.py:sst2,init_from=RUN \
      --config.task.folder=glue_data/SST-2

The argument is a task: cola, sst2, mrpc, qqp, stsb, mnli, qnli, rte, wnli; and the workdir of a
run, pretrained here or imported from Hugging Face's files. With fresh=true the backbone begins
anew. The folder has the files of gluebenchmark.com. The other half of MNLI's development set is
--config.task.dev=dev_mismatched.

Published for BERT: batches of 32, 3 epochs, the best of 5e-5, 4e-5, 3e-5 and 2e-5 by the
development set (Devlin et al. 2019, section 4.1); here 2e-5, and launch.sweep tries the others.
"""

from plmjax.finetuning import suite_config


def get_config(argument=None):
    return suite_config("glue", argument)
