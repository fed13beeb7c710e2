"""The error that training raises by name."""


class TrainingError(RuntimeError):
    """Training cannot start or go on; the message names what was seen and a way out."""
