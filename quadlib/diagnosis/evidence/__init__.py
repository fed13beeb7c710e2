"""Facts about a subject, one idea a file."""
