from .run import run_bfcl as run_bfcl
from .scoring import CallScore as CallScore
from .scoring import score_calls as score_calls
