"""Tokenizers in the files that Hugging Face's transformers reads and writes, both ways."""

import json
from pathlib import Path
from typing import Any

import tokenizers
from etils import epath
from tokenizers import decoders, models, normalizers, pre_tokenizers, processors

from plmjax.data.tokenizers import byte_bpe, sentencepiece, wordpiece
from plmjax.data.tokenizers.base import ROLES, Tokenizer
from plmjax.data.tokenizers.hugging_face import TOKENIZER_FILE, read_tokenizer_json
from plmjax.errors import UserError

CONFIG_FILE = "tokenizer_config.json"
MODEL_FILES = ("spiece.model", "sentencepiece.bpe.model", "tokenizer.model")
_STYLES = {"albert": "albert", "xlm-roberta": "xlm_r", "xlnet": "xlnet", "t5": "t5", "mt5": "t5"}
# The roles that transformers has a name for.
_NAMED = ("pad", "unk", "cls", "sep", "mask", "bos", "eos")


def write_tokenizer(tokenizer: Tokenizer, folder: Path, longest: int) -> str:
    """Writes the files that `AutoTokenizer.from_pretrained(folder)` opens.

    Args:
      tokenizer: a run's.
      folder: exists.
      longest: tokens of the longest sequence, special ones included.

    Returns:
      What is different there, in a sentence; empty where ids of all texts are the same.
    """
    tokens = {f"{role}_token": tokenizer.roles[role] for role in _NAMED if role in tokenizer.roles}
    config: dict[str, Any] = {**tokens, "model_max_length": longest}
    note = ""
    tokenizer.save_files(epath.Path(folder))
    if tokenizer.kind == "wordpiece":
        config |= {"tokenizer_class": "BertTokenizer", "do_lower_case": tokenizer.lowercase}
        config |= {"strip_accents": None, "tokenize_chinese_chars": True}
        _write_json(folder, tokenizer._engine.to_str(), tokenizer, _bert_frame(tokenizer))
    elif tokenizer.kind == "byte_bpe":
        config |= {"add_prefix_space": tokenizer.prefix_space}
        roberta = {"cls", "sep"} <= tokenizer.roles.keys()
        config["tokenizer_class"] = "RobertaTokenizer" if roberta else "GPT2Tokenizer"
        frame = _roberta_frame(tokenizer) if roberta else None
        _write_json(folder, tokenizer._engine.to_str(), tokenizer, frame)
    elif tokenizer.kind == "tokenizer_json":
        config["tokenizer_class"] = "PreTrainedTokenizerFast"
    elif tokenizer.kind == "sentencepiece":
        config["tokenizer_class"] = "PreTrainedTokenizerFast"
        described = unigram(tokenizer)
        if described is None:
            note = "transformers has no equal of a SentencePiece BPE model: tokenize with plmjax"
        else:
            _write_json(folder, described, tokenizer, _sentencepiece_frame(tokenizer))
    else:
        config["tokenizer_class"] = "CpmTokenizer"
        note = "transformers' CpmTokenizer gives other ids than CPM's own: tokenize with plmjax"
    text = json.dumps(config, indent=2, ensure_ascii=False) + "\n"
    (folder / CONFIG_FILE).write_text(text)
    return note


def _write_json(folder: Path, engine_json: str, tokenizer: Tokenizer, frame: Any) -> None:
    engine = tokenizers.Tokenizer.from_str(engine_json)
    special = [tokenizer.vocabulary[index] for index in tokenizer.special_ids]
    engine.add_special_tokens(
        [
            # <mask> stands where a word does, with its space.
            tokenizers.AddedToken(token, special=True, normalized=False, lstrip=token == "<mask>")
            for token in special
        ]
    )
    if frame is not None:
        engine.post_processor = frame
    (folder / TOKENIZER_FILE).write_text(engine.to_str(pretty=True))


def _bert_frame(tokenizer: Tokenizer) -> processors.PostProcessor:
    cls, sep = tokenizer.roles["cls"], tokenizer.roles["sep"]
    return processors.TemplateProcessing(
        single=f"{cls}:0 $A:0 {sep}:0",
        pair=f"{cls}:0 $A:0 {sep}:0 $B:1 {sep}:1",
        special_tokens=[(cls, tokenizer.cls_id), (sep, tokenizer.sep_id)],
    )


def _roberta_frame(tokenizer: Tokenizer) -> processors.PostProcessor:
    cls, sep = tokenizer.roles["cls"], tokenizer.roles["sep"]
    return processors.RobertaProcessing(
        (sep, tokenizer.sep_id),
        (cls, tokenizer.cls_id),
        trim_offsets=True,
        add_prefix_space=tokenizer.prefix_space,
    )


def _sentencepiece_frame(tokenizer: sentencepiece.SentencePiece) -> Any:
    """What stands around texts in the style's published models; None for nothing."""
    shapes = {
        "albert": ("cls:0 $A:0 sep:0", "cls:0 $A:0 sep:0 $B:1 sep:1"),
        "xlm_r": ("cls:0 $A:0 sep:0", "cls:0 $A:0 sep:0 sep:0 $B:0 sep:0"),
        "xlnet": ("$A:0 sep:0 cls:2", "$A:0 sep:0 $B:1 sep:1 cls:2"),
        "t5": ("$A:0 eos:0", "$A:0 eos:0 $B:0 eos:0"),
    }
    if tokenizer.style not in shapes:
        return None
    used = {
        role: tokenizer.roles[role] for role in ("cls", "sep", "eos") if role in tokenizer.roles
    }

    def filled(shape: str) -> str:
        words = (word.partition(":") for word in shape.split(" "))
        return " ".join(f"{used.get(name, name)}:{kind}" for name, _, kind in words)

    single, pair = map(filled, shapes[tokenizer.style])
    ids = [(token, tokenizer.ids[token]) for token in dict.fromkeys(used.values())]
    return processors.TemplateProcessing(single=single, pair=pair, special_tokens=ids)


def unigram(tokenizer: sentencepiece.SentencePiece) -> str | None:
    """A tokenizer.json of a SentencePiece model; None for one of BPE, which has no merges.

    Where two ways to cut a text are equally likely, the two libraries may choose differently: rows
    of the same sign.
    """
    from sentencepiece import sentencepiece_model_pb2

    proto = sentencepiece_model_pb2.ModelProto.FromString(tokenizer.model)
    if proto.trainer_spec.model_type != proto.trainer_spec.UNIGRAM:
        return None
    scores = {piece.piece: piece.score for piece in proto.pieces}
    scored = [(token, scores.get(token, 0.0)) for token in tokenizer.vocabulary]
    model = models.Unigram(scored, unk_id=tokenizer.unk_id, byte_fallback=False)
    engine = tokenizers.Tokenizer(model)
    steps: list[normalizers.Normalizer] = []
    if tokenizer.style == "xlnet":
        steps += [normalizers.Replace("``", '"'), normalizers.Replace("''", '"')]
    if tokenizer.style in sentencepiece.LOWERCASE:
        steps += [normalizers.NFKD(), normalizers.StripAccents()]
        steps += [normalizers.Lowercase()] * tokenizer.lowercase
    if proto.normalizer_spec.precompiled_charsmap:
        steps.append(normalizers.Precompiled(proto.normalizer_spec.precompiled_charsmap))
    if proto.normalizer_spec.remove_extra_whitespaces:
        steps += [normalizers.Replace(tokenizers.Regex(r"\s+"), " "), normalizers.Strip()]
    engine.normalizer = normalizers.Sequence(steps)
    engine.pre_tokenizer = pre_tokenizers.Metaspace(split=False)
    engine.decoder = decoders.Metaspace()
    return engine.to_str()


def read_tokenizer(folder: Path, model_type: str) -> Tokenizer:
    """The tokenizer of a folder of Hugging Face's.

    WordPiece and byte-level BPE from their own files, or out of tokenizer.json; SentencePiece from
    its model; anything else as tokenizer.json says.

    Args:
      folder: with a model's files.
      model_type: of its config.json, which decides the special tokens of a SentencePiece model.

    Raises:
      UserError: if there is none, or its files are damaged.
    """
    config = read_json(folder / CONFIG_FILE) if (folder / CONFIG_FILE).exists() else {}
    described = read_json(folder / TOKENIZER_FILE) if (folder / TOKENIZER_FILE).exists() else None
    for name in MODEL_FILES:
        if (folder / name).exists():
            style = _STYLES.get(model_type, "plain")
            given = config.get("do_lower_case") if style in sentencepiece.LOWERCASE else None
            return sentencepiece.read_sentencepiece(folder / name, style, given)
    if (folder / wordpiece.VOCABULARY_FILE).exists():
        vocabulary = wordpiece.read_vocabulary(folder / wordpiece.VOCABULARY_FILE)
        return wordpiece.WordPiece(vocabulary, _lowercase(config, described))
    if (folder / byte_bpe.MERGES_FILE).exists() and not _is_other_bpe(described, model_type):
        return byte_bpe.read_byte_bpe(folder, bool(config.get("add_prefix_space", False)))
    if described is not None:
        own = _from_description(described, config)
        return own or read_tokenizer_json(epath.Path(folder), _roles(config))
    raise UserError(
        f"{folder} has no tokenizer; expected vocab.txt, vocab.json and merges.txt,"
        f" {MODEL_FILES[0]} or {TOKENIZER_FILE}"
    )


def _is_other_bpe(described: dict[str, Any] | None, model_type: str) -> bool:
    """Whether vocab.json and merges.txt are not of bytes: GPT-1's are of characters."""
    if described is None:
        return model_type == "openai-gpt"
    return "ByteLevel" not in json.dumps(described.get("pre_tokenizer"))


def _from_description(described: dict[str, Any], config: dict[str, Any]) -> Tokenizer | None:
    """One of our kinds out of a tokenizer.json; None where none gives the same ids."""
    model, added = described["model"], described.get("added_tokens", [])
    if not isinstance(model.get("vocab"), dict):
        return None
    ids = {**model["vocab"], **{token["content"]: token["id"] for token in added}}
    tokens = tuple(sorted(ids, key=ids.__getitem__))
    if [ids[token] for token in tokens] != list(range(len(ids))):
        return None
    normalizer = described.get("normalizer") or {}
    if (
        model.get("type") == "WordPiece"
        and set(wordpiece.SPECIAL_TOKENS) <= ids.keys()
        and normalizer.get("type") == "BertNormalizer"
        and normalizer.get("handle_chinese_chars", True)
        and normalizer.get("strip_accents") in (None, normalizer.get("lowercase"))
    ):
        return wordpiece.WordPiece(tokens, bool(normalizer["lowercase"]))
    pre = described.get("pre_tokenizer") or {}
    if model.get("type") == "BPE" and pre.get("type") == "ByteLevel" and not normalizer:
        merges = (m.split(" ") if isinstance(m, str) else m for m in model["merges"])
        pairs = tuple((left, right) for left, right in merges)
        return byte_bpe.ByteBPE(tokens, pairs, bool(pre.get("add_prefix_space", False)))
    return None


def _lowercase(config: dict[str, Any], described: dict[str, Any] | None) -> bool:
    if described is not None:
        return bool((described.get("normalizer") or {}).get("lowercase", True))
    return bool(config.get("do_lower_case", True))


def _roles(config: dict[str, Any]) -> dict[str, str]:
    roles = {}
    for role in ROLES:
        token = config.get(f"{role}_token")
        token = token.get("content") if isinstance(token, dict) else token
        if token:
            roles[role] = token
    return roles


def read_json(path: Path) -> dict[str, Any]:
    """The object in a file of JSON; a UserError names a file that is damaged."""
    try:
        found = json.loads(path.read_text())
        if not isinstance(found, dict):
            raise ValueError("it is no object")
        return found
    except ValueError as error:
        raise UserError(f"{path} is damaged ({error}); fetch it again") from None
