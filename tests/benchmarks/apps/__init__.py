"""The applications that the benchmarks serve: ours, the peers', and the upstream behind them.

Each proxy reads the address of what it forwards to from the environment variable `UPSTREAM`.
"""
