"""The budgets, measured beside the peers that a user would pick instead, in one run.

    python -m tests.benchmarks --quick --only onion routes

A topic is a module of `topics` with one function `measure(bench)` that yields lines; a new file
there is found by itself. Ratios are what is promised: contenders run in turn, A B A B …, and a
ratio is the median over the rounds of ours divided by the peer's, so that a machine which slows
down half-way slows both. Absolute figures belong to the hardware named in the first line.
"""
