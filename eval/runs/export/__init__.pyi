from .formats import FORMATS as FORMATS
from .formats import export_run as export_run
from .inspect_log import inspect_log as inspect_log
from .lamp import lamp_submission as lamp_submission
from .tables import table_rows as table_rows
