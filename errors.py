"""The one exception that a user of trimtab is meant to read."""


class TrimtabError(Exception):
    """Bad input or a missing part, told in one line.

    The message says what was expected, what came, and what to do. The command line prints it
    as it is and exits with code 2; it never shows a traceback for one.
    """
