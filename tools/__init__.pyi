from .quoting import quoted as quoted
from .spec import ToolSpec as ToolSpec
from .toolkit import ToolError as ToolError
from .toolkit import Toolkit as Toolkit
from .toolkit import ToolResult as ToolResult
