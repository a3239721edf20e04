"""What every command of this folder shares: how it ends."""

from cmelt_plugin.evaluation.cli import run

__all__ = ["run"]
