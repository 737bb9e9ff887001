"""One command, one table: ratios measured in one run. `make bench`, or `python -m benchmarks`."""
