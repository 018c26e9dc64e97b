"""The benchmarks: one folder each, with the pure algorithm, the evaluator and its definition."""
