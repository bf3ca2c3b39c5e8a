"""Benchmarks: rates of a real node under load, beside a consul binary where there is one."""
