"""The shopping comparison: the same test tasks under each arm, scored, with paired differences.

An arm is one way to run the agent, as data. All arms' episodes run at once, so that a task's
prompts share their batches; results are written as they come, and a run can be broken off and
gone on with.
"""

from __future__ import annotations

import dataclasses
import math
import random
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from ..agent.batching import BatchedModel
from ..agent.episode import Episode, Play, play_episodes
from ..errors import TrimtabError
