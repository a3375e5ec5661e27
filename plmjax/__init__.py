"""plmjax: pretraining language models in JAX, TPU first."""

__version__ = "0.1.0"
