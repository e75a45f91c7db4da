"""How the shopping agent is steered unless told otherwise."""

from ...steering.dictionaries.settings import SteeringSettings

TOOL_CHOICE = SteeringSettings(sites=("block",), depths=(0.72,), strength=4.0, positions=12)
"""Chosen on worlds of other seeds than the one that `trimtab run` plays; see docs/tool-choice.md.

Vectors that were read up to the tool's name are added up to there: 12 tokens hold the start of a
call. Left on for the arguments, they would change what is searched for.
"""
