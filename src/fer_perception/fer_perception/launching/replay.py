"""What replay.launch.py starts: the pipeline in the bag's time, and what plays the bag to it."""

from __future__ import annotations

import shlex
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

from pydantic import BaseModel, Field, field_validator

from fer_perception.launching import plan as fer
from fer_perception.launching.arguments import declared, misspelt_arguments, parse
from fer_perception.launching.plan import Plan, PlannedNode
from fer_perception.replay.bags import image_transport

# Arguments of fer.launch.py that the bag decides: its images are those of one camera.
SET_HERE = ("source", "image", "cameras", "shared_process", "loop", "image_transport", "use_sim_time")


class ReplayArguments(BaseModel):
    """What replay.launch.py takes besides the arguments of the pipeline."""

    bag: str = Field(description="A bag's folder, or a single .mcap or .db3 file")
    topic: str = Field("", description="Topic of its images; empty: the only one")
    options: str = Field("", description="live_replay's, such as --labels and --rate")

    @field_validator("options")
    @classmethod
    def _words(cls, options: str) -> str:
        shlex.split(options)
        return options


PIPELINE_ARGUMENTS = tuple(argument for argument in fer.ARGUMENTS if argument.name not in SET_HERE)
ARGUMENTS = (*declared(ReplayArguments), *PIPELINE_ARGUMENTS)


def plan(given: Mapping[str, str]) -> Plan:
    """The plan for launch arguments; missing ones have their defaults.

    :raises FerError: a value cannot be used, values contradict each other, or the bag cannot be used.
    """
    arguments = parse(ReplayArguments, given)
    topics = [arguments.topic] if arguments.topic else []
    pipeline = fer.plan(
        {
            **{name: given[name] for name, *_ in PIPELINE_ARGUMENTS if name in given},
            "source": "none",
            "image_transport": image_transport(Path(arguments.bag), topics),
            "use_sim_time": "true",
        }
    )
    player = PlannedNode(
        "live_replay",
        namespace=pipeline.nodes[0].namespace,
        arguments=(
            arguments.bag,
            "--attach",
            *(f"--topic={topic}" for topic in topics),
            *shlex.split(arguments.options),
        ),
        ends_launch=True,
    )
    warnings = [f"the argument {name}:= is not used: the bag decides it" for name in SET_HERE if name in given]
    misspelt = misspelt_arguments({name: text for name, text in given.items() if name not in SET_HERE}, ARGUMENTS)
    return replace(
        pipeline,
        nodes=(*pipeline.nodes, player),
        warnings=tuple(filter(None, (*warnings, misspelt, *pipeline.warnings))),
    )
