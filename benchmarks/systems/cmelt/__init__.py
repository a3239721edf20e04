"""C-MELT the way of its authors' release, and the operations its mathematics needs."""
