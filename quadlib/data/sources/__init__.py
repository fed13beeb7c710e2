"""Where tables come from: one reader a source, imported when it is first used.

A reader is a function `read(path, *, ...) -> SampleTable`; of a run's settings it is given `size`,
`seed` and `outputs` where its keywords ask for them.
"""

from __future__ import annotations

from quadlib.registry import register_source

register_source("weldsim", "quadlib.data.sources.weldsim.read:read")
register_source("intel_weld", "quadlib.data.sources.intel_weld:read")
register_source("mfeat", "quadlib.data.sources.mfeat:read")
register_source("table", "quadlib.data.sources.tabular:read")
