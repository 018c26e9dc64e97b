"""Road, boxes and semantics from one network, with the benchmarks' own numbers."""

__version__ = "0.1.0"
