"""Small models that write, each with a tokenizer of its kind, in the files of transformers."""

from pathlib import Path
from typing import Any

from plmjax.data.tokenizers import Tokenizer
from tests.huggingface import small

TEXT = ("abc def ghij klm", "nopq rst uvw xyz") * 3
KINDS = {"gpt2": "gpt2", "openai-gpt": "gpt2", "bart": "roberta", "t5": "t5", "t5-untied": "t5"}


def saved(case: str, folder: Path, **said: Any) -> tuple[Any, Tokenizer]:
    """A model with a tokenizer of its own kind, whose ids transformers' config has."""
    size = {"t5": 130}.get(KINDS[case], 300)
    tokenizer = small.trained(KINDS[case], size, TEXT)
    ids = {f"{role}_token_id": tokenizer.id_of(role) for role in ("pad", "bos", "eos")}
    model = small.model(case, "language_model", vocab_size=tokenizer.vocab_size, **(ids | said))
    model.save_pretrained(folder)
    small.write_tokenizer(tokenizer, folder, 40)
    return model, tokenizer
