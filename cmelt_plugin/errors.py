"""The one exception users are meant to read.

Commands print its message without a traceback; the message names the file, the row where there is one, and what to do.
"""


class DataError(Exception):
    """Input that cannot be used: a missing, malformed, stale or contradictory file."""
