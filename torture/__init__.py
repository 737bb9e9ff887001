"""Kill, fill and fuzz: a campaign that one can repeat. `make torture`, or `python -m torture`."""
