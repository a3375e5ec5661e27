"""Goes on training a run on other text: one that was pretrained here, or imported.

  python -m plmjax.main --config=configs/continued.py:RUN --config.corpus.source='text:/data/*.txt'

The argument is the run's workdir (of a model of Hugging Face's: python -m plmjax.export
--from_huggingface=FOLDER --workdir=RUN), which says the model, the vocabulary and what examples it
is trained on. A tokenizer that is no WordPiece needs a store that was prepared with the run's own,
--config.corpus.store=STORE. The domain's text first, then a task's text without its labels, then
the task itself (configs/finetune/) are docs/finetuning.md's four stages.
"""

from plmjax.continuing import continued_config
from plmjax.errors import UserError


def get_config(argument=None):
    if not argument:
        raise UserError("the config needs the workdir of a run: configs/continued.py:RUN")
    config = continued_config(argument)

    config.optimizer.name = "adamw_google"
    config.optimizer.learning_rate = 5e-5
    config.optimizer.warmup_fraction = 0.05
    config.train.steps = 10_000
    return config
