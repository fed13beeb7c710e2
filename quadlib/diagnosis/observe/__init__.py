"""What happens while a subject is stepped, recorded, and put back as it was."""
