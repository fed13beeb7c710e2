"""Every way in which a run is disturbed, over and over: `python -m tests.soak`."""
