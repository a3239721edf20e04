"""Settings for tests of the commands that read data sets."""

import os

os.environ.setdefault("TQDM_DISABLE", "1")  # read when tqdm is imported, here and in subprocesses
