"""Names of the ways a variance map is made in."""

from __future__ import annotations

LEAD, WINDOW, TOKENS = "lead", "window", "tokens"
METHODS = (LEAD, WINDOW, TOKENS)
"""By hiding windows of each lead, or of all leads together; or by the tokens of the model."""
ZERO, LINE = "zero", "line"
FILLS = (ZERO, LINE)
"""What stands in a hidden window: nothing, or a straight line between its ends."""
