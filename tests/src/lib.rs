//! Whole-system tests on real parts, the demo and the benchmarks.
