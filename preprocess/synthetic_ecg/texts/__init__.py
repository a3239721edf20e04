"""Labels, the texts of their classes, and reports."""
