"""Runs that were begun before the code learned some of today's settings."""

import dataclasses
from typing import Any

from plmjax.data.batch_form import masking_config, plan_config
from plmjax.data.labelled.tasks import LABELLED_TASKS
from plmjax.experiment import Settings
from plmjax.families import FAMILIES, objective_config
from plmjax.settings import choose, section_of


def defaults(settings: Settings) -> dict[str, Any]:
    """The whole config with nothing changed but the names of its parts, which are as in `settings`.

    What no default is for, such as a vocabulary's size, is left out.
    """
    config, data = dataclasses.asdict(Settings()), settings.data
    fields = dataclasses.fields(choose(settings.model["family"], FAMILIES, "the family").config)
    config["model"] = {
        field.name: dataclasses.asdict(value) if dataclasses.is_dataclass(value) else value
        for field in fields
        if (value := field.default) is not dataclasses.MISSING
    }
    config["objective"] = objective_config(settings.objective["name"])
    config["data"]["plan"] = plan_config(data.plan["name"])
    config["data"]["masking"] = masking_config(data.masking["name"])
    if settings.task:
        task = section_of(LABELLED_TASKS, settings.task["name"], "the task")
        config["task"] = task | {"shortest": 0}  # as batches were
    return config
