"""`python -m dacformer`: the command line."""

from dacformer.cli import main

if __name__ == "__main__":
    main()
