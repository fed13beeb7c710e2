"""The decoded recordings, kept on disk."""

from quadlib.data.store.store import MediaStore as MediaStore
