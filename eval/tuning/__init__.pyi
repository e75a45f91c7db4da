from .grid import grid_of as grid_of
from .search import Tuned as Tuned
from .search import TuningTask as TuningTask
from .search import split_by_time as split_by_time
from .search import tune as tune
from .tasks import tuning_task as tuning_task
