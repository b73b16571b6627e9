"""What the benchmarks of many callers share: the load, the peers, and how two sides are compared."""
