"""All benchmarks: `python tests/bench`."""

from core import main

if __name__ == "__main__":
    main()
