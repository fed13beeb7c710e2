"""quadlib: supervised contrastive learning on four-modality recordings, from label composition to reports to trust."""
