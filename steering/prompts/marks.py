"""Texts by which an answer's parts are told apart: what stands around calls and around thoughts.

Some tokenizers have special tokens for them. Those tokens stay in the text of an answer.
"""

from __future__ import annotations

from typing import NamedTuple


class ThoughtMarks(NamedTuple):
    """What stands in front of a thought and behind it."""

    opening: str
    closing: str


THOUGHTS = (
    ThoughtMarks("<think>", "</think>"),
    ThoughtMarks("<thinking>", "</thinking>"),
    ThoughtMarks("<thought>", "</thought>"),
    ThoughtMarks("<reasoning>", "</reasoning>"),
    ThoughtMarks("<seed:think>", "</seed:think>"),
    ThoughtMarks("[THINK]", "[/THINK]"),
    ThoughtMarks("<|START_THINKING|>", "<|END_THINKING|>"),
    ThoughtMarks("<|begin_of_thought|>", "<|end_of_thought|>"),
    ThoughtMarks("<|channel>thought", "<channel|>"),
    ThoughtMarks("<|channel|>analysis<|message|>", "<|end|>"),
)
"""Of the families that think aloud before they answer."""

CALL_MARKS = (
    *("<tool_call>", "</tool_call>", "<arg_key>", "</arg_key>", "<arg_value>", "</arg_value>"),
    *("[TOOL_CALLS]", "[ARGS]", "[CALL_ID]", "[TOOL_CONTENT]", "<|python_tag|>"),
    *("<|python_start|>", "<|python_end|>", "<|tool_call>", "<tool_call|>", '<|"|>'),
    *("<start_function_call>", "<end_function_call>", "<escape>"),
    *("<｜tool▁calls▁begin｜>", "<｜tool▁calls▁end｜>", "<｜tool▁call▁begin｜>"),
    *("<｜tool▁call▁end｜>", "<｜tool▁sep｜>"),
    *("<|tool_calls_section_begin|>", "<|tool_calls_section_end|>", "<|tool_call_begin|>"),
    *("<|tool_call_argument_begin|>", "<|tool_call_end|>", "<|tool_call_start|>"),
    *("<|tool_call|>", "<|/tool_call|>", "<TOOLCALL>", "</TOOLCALL>"),
    *("<minimax:tool_call>", "</minimax:tool_call>"),
    *("<|channel|>", "<|message|>", "<|constrain|>", "<|call|>", "<|start|>", "<|end|>"),
    *("<think>", "</think>", "[THINK]", "[/THINK]", "<|channel>", "<channel|>"),
    *("<|START_THINKING|>", "<|END_THINKING|>"),
)
"""Texts that a call or a thought is read by."""
