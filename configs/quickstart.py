"""A small BERT on the documentation that is on this machine; no set-up, no download.

python -m plmjax.main --config=configs/quickstart.py
"""

from plmjax.experiment import default_config


def get_config():
    config = default_config("bert", "tiny")
    config.corpus.source = "sample:pydoc"
    config.corpus.vocab_size = 4096

    config.model.vocab_size = 0  # the tokenizer's
    config.model.num_layers = 3
    config.model.max_positions = 128
    # The run is short and sees little twice, so there is nothing to regularise.
    config.model.hidden_dropout = 0.0
    config.model.attention_dropout = 0.0
    config.model.dtype = "auto"

    config.data.seq_len = 128
    config.data.batch_size = 32
    config.data.max_predictions = 20

    config.optimizer.name = "lamb"
    config.optimizer.learning_rate = 5e-3
    config.optimizer.warmup_fraction = 0.05
    config.optimizer.schedule = "linear"

    config.train.steps = 4000
    config.train.log_every = 50
    config.evaluation.every = 500
    config.checkpoint.every = 500
    return config
