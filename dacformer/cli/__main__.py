"""`python -m dacformer.cli`, as launchers of many processes call it."""

from dacformer.cli import main

if __name__ == "__main__":
    main()
