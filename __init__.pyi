from .agent import SteeredChatModel as SteeredChatModel
from .agent import build_agent as build_agent
from .errors import TrimtabError as TrimtabError
from .steering import SteeredModel as SteeredModel
from .steering import SteeringDictionary as SteeringDictionary
from .steering import SteeringStore as SteeringStore
from .tools import Toolkit as Toolkit
from .tools import ToolSpec as ToolSpec
