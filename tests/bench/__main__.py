"""All benchmarks: `python tests/bench`."""

import growth
from core import main

if __name__ == "__main__":
    main()
    growth.main([])
