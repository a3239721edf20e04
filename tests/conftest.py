"""Fixtures shared by all tests."""

import os

# Tiny tensors gain nothing from threads, and threads that share cores with other processes wait for each other.
os.environ.setdefault("OMP_NUM_THREADS", "1")
# NumPy's matrix products by the same kernels on every x86 processor: recorded bytes are the same to the last bit then.
os.environ.setdefault("OPENBLAS_CORETYPE", "HASWELL")

import signal  # noqa: E402
from pathlib import Path  # noqa: E402

import pytest  # noqa: E402
from batteries import (  # noqa: E402, F401  (hooks and fixture of the reliability batteries)
    battery,
    pytest_addoption,
    pytest_runtest_makereport,
    pytest_terminal_summary,
)
from hypothesis import HealthCheck, settings  # noqa: E402

# What a shell runs in the background ignores Ctrl-C, and so would every command that tests start and interrupt.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)

# How fast a machine draws examples says nothing of the code.
settings.register_profile("any machine", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("any machine")

REPOSITORY = Path(__file__).resolve().parent.parent


@pytest.fixture(scope="session")
def real_data() -> Path:
    """Folder of real recordings; tests that need it are skipped where it is missing."""
    folder = Path(os.environ.get("CMELT_REAL_DATA", REPOSITORY.parent / "shared" / "data"))
    if not folder.is_dir():
        pytest.skip(f"no real recordings at {folder}; set CMELT_REAL_DATA to a folder that holds ptb-xl/")
    return folder
