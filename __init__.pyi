from .errors import TrimtabError as TrimtabError
