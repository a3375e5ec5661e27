"""A small BERT on the documentation that is on this machine; no set-up, no download.

  python -m plmjax.main --config=configs/quickstart.py

What differs from the published recipe is what makes a model of this size learn in minutes: half of
the length, small batches and so many updates, twice the masks until the last phase, and an
initialisation that has at width 128 the gain that 0.02 has at width 768.
"""

from plmjax.experiment import default_config


def get_config():
    config = default_config("bert", "tiny")
    config.corpus.source = "sample:pydoc"
    config.corpus.vocab_size = 4096

    config.model.vocab_size = 0  # the tokenizer's
    config.model.num_layers = 3
    config.model.initializer_range = 0.05
    # The run is short and sees little twice, so there is nothing to regularise.
    config.model.hidden_dropout = 0.0
    config.model.attention_dropout = 0.0
    config.model.dtype = "auto"

    config.data.seq_len = 64
    config.data.batch_size = 16
    config.data.masking.mask_rate = 0.3
    config.data.masking.max_predictions = 20
    published = {"mask_rate": 0.15, "max_predictions": 10}
    config.phases.published_masks = {"start": 0.85, "masking": published}

    config.optimizer.name = "lamb_google"
    config.optimizer.learning_rate = 4e-3
    config.optimizer.warmup_fraction = 0.05
    config.optimizer.schedule = "linear"

    config.train.steps = 8000
    config.train.log_every = 100
    config.evaluation.every = 1000
    config.checkpoint.every = 1000
    return config
