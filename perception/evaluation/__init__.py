"""The benchmarks, one folder each: definition, algorithm, evaluator, files, result."""

from perception.evaluation.benchmark import Benchmark
from perception.evaluation.catalog import BENCHMARKS, benchmark_class, create, score
from perception.evaluation.run import Outcome, run_benchmark

__all__ = [
    "BENCHMARKS",
    "Benchmark",
    "Outcome",
    "benchmark_class",
    "create",
    "run_benchmark",
    "score",
]
