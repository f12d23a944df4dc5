"""One plain function per section of a spec, never tuned: the yardstick of tests and benchmarks."""
