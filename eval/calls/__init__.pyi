from .methods import CALL_METHODS as CALL_METHODS
from .plan import CallPlan as CallPlan
from .plan import call_methods as call_methods
from .scoring import CallScore as CallScore
from .scoring import score_calls as score_calls
from .task import CallTask as CallTask
