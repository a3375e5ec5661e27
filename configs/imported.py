"""To go on training a model of Hugging Face's that plmjax.export has imported.

  python -m plmjax.export --from_huggingface=FOLDER --workdir=RUN
  python -m plmjax.main --config=configs/imported.py:RUN --config.corpus.source='text:/data/*.txt'

The argument is the workdir, which says the model, the vocabulary and what examples its family is
trained on. A tokenizer that is no WordPiece needs a prepared store, --config.corpus.store=STORE.
"""

from ml_collections import ConfigDict

from plmjax.errors import UserError
from plmjax.importing import imported_config


def get_config(argument=None):
    if not argument:
        raise UserError("the config needs an imported workdir: configs/imported.py:RUN")
    config = ConfigDict(imported_config(argument))
    config.init_from = argument
    config.model.dtype = "auto"

    config.optimizer.name = "adamw_google"
    config.optimizer.learning_rate = 5e-5
    config.optimizer.warmup_fraction = 0.05
    config.train.steps = 10_000
    return config
