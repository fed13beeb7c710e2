"""`python -m quadlib` does what the command `quadlib` does."""

from quadlib.cli import main

if __name__ == "__main__":
    main()
