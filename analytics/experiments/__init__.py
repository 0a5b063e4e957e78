"""The statistics of experiments: pure functions over counts and sums, with no database behind them.

`results.assess` puts the pieces together and `words` says what came out. Every formula names its paper, and
`python -m benchmarks statistics` shows by simulation, where the truth is known, that they keep what they promise.
"""
