"""The whole job at once: both sources, or a fault live."""
