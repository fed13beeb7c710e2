"""What a modality can be: one file a kind."""
