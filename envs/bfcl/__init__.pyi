from .cases import CallCase as CallCase
from .cases import CallCases as CallCases
from .cases import ExpectedCall as ExpectedCall
from .cases import load_bfcl as load_bfcl
