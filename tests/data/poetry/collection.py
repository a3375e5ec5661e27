"""Small collections in the layout of chinese-poetry."""

import json
from pathlib import Path
from typing import Any

WUJUE = ("白日依山盡，黃河入海流。", "欲窮千里目，更上一層樓。")
QIJUE = ("朝辭白帝彩雲間，千里江陵一日還。", "兩岸猿聲啼不住，輕舟已過萬重山。")
WULU = (
    "國破山河在，城春草木深。",
    "感時花濺淚，恨別鳥驚心。",
    "烽火連三月，家書抵萬金。",
    "白頭搔更短，渾欲不勝簪。",
)
QILU = (
    "風急天高猿嘯哀，渚清沙白鳥飛回。",
    "無邊落木蕭蕭下，不盡長江滾滾來。",
    "萬里悲秋常作客，百年多病獨登臺。",
    "艱難苦恨繁霜鬢，潦倒新停濁酒杯。",
)
CI = (
    "昨夜雨疏风骤，浓睡不消残酒。",
    "试问卷帘人，却道海棠依旧。",
    "知否，知否？",
    "应是绿肥红瘦。",
)


def poem(title: str, *paragraphs: str, **fields: Any) -> dict[str, Any]:
    """An item of a file of poems."""
    return {"author": "佚名", "title": title, "paragraphs": list(paragraphs), "id": "0"} | fields


def ci(tune: str, *paragraphs: str) -> dict[str, Any]:
    """An item of a file of ci."""
    return {"author": "佚名", "rhythmic": tune, "paragraphs": list(paragraphs)}


def write(folder: Path, tang: Any = (), song: Any = (), songci: Any = ()) -> Path:
    """Files of these poems, in the folders that the npm package has."""
    files = {
        "quantangshi/poet.tang.0.json": tang,
        "quantangshi/poet.song.0.json": song,
        "songci/ci.song.0.json": songci,
    }
    for name, items in files.items():
        if items:
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            (folder / name).write_text(json.dumps(list(items), ensure_ascii=False))
    return folder
