"""One command, one table: `make bench`, or `python -m benchmarks`."""
