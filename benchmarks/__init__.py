"""Speed and memory, measured side by side with the way released code of this field works; see ``benchmarks/README.md``.

``python -m benchmarks --list`` names the benchmarks, ``python -m benchmarks NAME`` runs one.
"""
