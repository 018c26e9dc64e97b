"""The earlier name of `perception.evaluation`, for programs that import it."""

from perception.evaluation import BENCHMARKS, Benchmark, Outcome, create, run_benchmark, score

__all__ = ["BENCHMARKS", "Benchmark", "Outcome", "create", "run_benchmark", "score"]
