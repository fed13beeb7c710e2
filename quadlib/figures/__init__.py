"""Results to plotly figures: pure functions in one visual language, one file a notebook."""
