"""Installed packages with catalogues of gettext, as `sample:catalogues` reads them."""

import struct
from collections.abc import Mapping
from pathlib import Path

from plmjax.data.catalogues_sample import LANGUAGES, PACKAGES

_DICTIONARY = """
en save open delete the a file tree ticket editor name person event
de speichern öffnen löschen die eine datei baum karte editor name person termin
es guardar abrir borrar el un fichero árbol billete editor nombre persona evento
fr garder ouvrir effacer le un fichier arbre billet éditeur nom personne fait
nl bewaar open wis het een bestand boom kaartje editor naam persoon evenement
zh 保存 打开 删除 该 一 文件 树 票 编辑器 名称 人 活动
"""
_WORDS = {language: words for language, *words in map(str.split, _DICTIONARY.split("\n")[1:-1])}


def install(folder: Path, count: int = 200) -> Path:
    """Puts the packages into a folder, each with `count` messages word by word translated."""
    for number, package in enumerate(PACKAGES):
        files = []
        for language, (name, *_) in LANGUAGES.items():
            path = f"{package}/locale/{name}/LC_MESSAGES/{package}.mo"
            messages = {
                _message("en", n): _message(language, n)
                for n in range(number * count, (number + 1) * count)
            }
            _write(folder / path, messages)
            files.append(path)
        about = folder / f"{package}-1.0.dist-info"
        about.mkdir()
        (about / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {package}\nVersion: 1.0\n")
        (about / "RECORD").write_text("".join(f"{path},,\n" for path in files))
    return folder


def _message(language: str, number: int) -> str:
    words = _WORDS[language]
    chosen = [words[number * prime % 12] for prime in (1, 5, 7, 11)[: 2 + number % 3]]
    return " ".join([*chosen, words[number // 12 % 12], str(number)]) + "."


def _write(path: Path, messages: Mapping[str, str]) -> None:
    """A catalogue in the format of GNU gettext's .mo files."""
    pairs = [(b"", b"Content-Type: text/plain; charset=UTF-8\n")]
    pairs += sorted((key.encode(), text.encode()) for key, text in messages.items())
    count, place = len(pairs), 28 + 16 * len(pairs)
    tables, content = [], b""
    for column in (0, 1):
        for pair in pairs:
            tables += [len(pair[column]), place + len(content)]
            content += pair[column] + b"\0"
    head = struct.pack("<7I", 0x950412DE, 0, count, 28, 28 + 8 * count, 0, 0)
    path.parent.mkdir(parents=True)
    path.write_bytes(head + struct.pack(f"<{len(tables)}I", *tables) + content)
