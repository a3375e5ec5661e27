"""Sections of a config that choose one of several dataclasses."""

import dataclasses

import pytest
from ml_collections import ConfigDict

from plmjax.errors import UserError
from plmjax.settings import chosen, section_of


@dataclasses.dataclass(frozen=True)
class Fast:
    rate: float = 0.1
    name_of_table: str = ""
    steps: tuple[int, ...] = (1, 2)

    def __post_init__(self):
        if self.rate < 0:
            raise UserError(f"rate={self.rate} is negative; give 0 or more")


@dataclasses.dataclass(frozen=True)
class Slow:
    rate: float = 0.5
    patience: int = 3
    limits: dict = dataclasses.field(default_factory=lambda: {"most": 4})


TABLE = {"fast": Fast, "slow": Slow}


def test_a_section_has_the_name_every_default_and_the_changes():
    assert section_of(TABLE, "slow", "speed") == {
        "name": "slow",
        "rate": 0.5,
        "patience": 3,
        "limits": {"most": 4},
    }
    assert section_of(TABLE, "fast", "speed", rate=0.2)["rate"] == 0.2
    with pytest.raises(UserError, match="speed='slw' is unknown; did you mean 'slow'"):
        section_of(TABLE, "slw", "speed")


def test_defaults_that_are_made_are_not_shared():
    section_of(TABLE, "slow", "speed")["limits"]["most"] = 9
    assert section_of(TABLE, "slow", "speed")["limits"] == {"most": 4}


def test_a_section_becomes_its_dataclass():
    assert chosen(section_of(TABLE, "slow", "speed", patience=7), TABLE, "where") == Slow(
        patience=7
    )
    config = ConfigDict(section_of(TABLE, "fast", "speed", rate=1))
    assert chosen(config, TABLE, "where") == Fast(rate=1.0)
    assert chosen({"name": "slow"}, TABLE, "where") == Slow()


def test_defaults_of_the_choice_before_are_no_mistake():
    config = section_of(TABLE, "slow", "speed") | {"name": "fast"}
    # What both have keeps its value: nobody can tell whether it was meant.
    assert chosen(config, TABLE, "where") == Fast(rate=0.5)


@pytest.mark.parametrize(
    "section, message",
    [
        ({"name": "quick"}, r"where\.name='quick' is unknown; there are: fast, slow"),
        ({}, r"where\.name='' is unknown"),
        ({"name": "fast", "patience": 4}, r"where\.patience is not a setting of 'fast'"),
        (
            {"name": "slow", "rat": 1.0},
            r"where\.rat is not a setting of 'slow'; did you mean 'rate'",
        ),
        ({"name": "slow", "patience": 1.5}, r"where\.patience=1\.5 is a float, expected an int"),
        ({"name": "fast", "rate": -1.0}, r"where\.rate=-1\.0 is negative"),
    ],
)
def test_what_does_not_belong_to_the_choice_is_one_clear_line(section, message):
    with pytest.raises(UserError, match=message) as raised:
        chosen(section, TABLE, "where")
    assert "\n" not in str(raised.value)
