"""How the commands of this package end: one line for what the user can mend, a traceback for our own faults."""

from __future__ import annotations

import os
import sys
from typing import Callable

from cmelt_plugin.errors import DataError


def run(main: Callable[[], int]) -> int:
    """Call a command's ``main`` and return its exit code.

    Unusable input and failures of the file system end in one line on stderr and exit code 1, Ctrl-C in exit code 130, a
    closed pipe (``... | head``) in 0. Other exceptions are faults of the program and keep their traceback.
    """
    try:
        return main()
    except DataError as error:
        message = str(error)
    except BrokenPipeError:
        # The interpreter would complain once more when it flushes stdout at exit.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    except OSError as error:
        place = f"{error.filename}: " if error.filename is not None else ""
        message = f"{place}{error.strerror or error}"
    except KeyboardInterrupt:
        print("\ninterrupted", file=sys.stderr)
        return 130
    print(f"error: {message}", file=sys.stderr)
    return 1
