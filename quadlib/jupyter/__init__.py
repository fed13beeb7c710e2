"""What a notebook shows while it runs: widgets and the cells' helpers."""
