"""Poems that people know, in simplified script."""

from plmjax.data.poetry.forms import lines_of

WUJUE = "白日依山尽，黄河入海流。欲穷千里目，更上一层楼。"
QIJUE = "朝辞白帝彩云间，千里江陵一日还。两岸猿声啼不住，轻舟已过万重山。"
WULU = (
    "国破山河在，城春草木深。感时花溅泪，恨别鸟惊心。烽火连三月，家书抵万金。"
    "白头搔更短，浑欲不胜簪。"
)
QILU = (
    "风急天高猿啸哀，渚清沙白鸟飞回。无边落木萧萧下，不尽长江滚滚来。"
    "万里悲秋常作客，百年多病独登台。艰难苦恨繁霜鬓，潦倒新停浊酒杯。"
)
SHAPES = {WUJUE: (5, 4), QIJUE: (7, 4), WULU: (5, 8), QILU: (7, 8)}


def lines(body: str) -> tuple[str, ...]:
    return lines_of(body)
