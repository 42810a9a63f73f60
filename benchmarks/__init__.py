"""What this package costs and saves, measured: ``python -m benchmarks NAME``; ``--list`` names them.

One frame (:mod:`benchmarks.frame`) reads arguments, prints tables, notes machine and commit, and holds every figure
against its bound. ``results/`` keeps what was measured, and ``python -m benchmarks table --write`` makes the tables of
the documents from it.
"""
