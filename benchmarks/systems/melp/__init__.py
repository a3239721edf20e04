"""MELP the way of its authors' release, the operations its mathematics needs, and a benchmark of its local loss."""
