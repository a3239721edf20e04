"""Recordings to files of the formats that others read: what a file held as numbers of a step comes out as these numbers."""
