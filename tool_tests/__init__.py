"""The tests of what is around the rungs: the tools of the ladder, the benchmarks, the table of the suite."""
