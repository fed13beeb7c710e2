from __future__ import annotations

from quadlib.config import TrainSettings
from quadlib.data.store.clean import clean_store
from quadlib.data.store.store import MediaStore


def test_every_entry_goes_and_nothing_else(media, tmp_path):
    table = media.table(2)
    settings = TrainSettings(outputs=str(tmp_path / "outputs"))
    MediaStore.open(table, settings)
    store = tmp_path / "outputs" / "store"
    (store / "notes.txt").write_text("mine")
    (store / "mine").mkdir()
    count, size = clean_store(settings.outputs)
    assert count == 4 and size > 1000
    assert sorted(path.name for path in store.iterdir()) == ["mine", "notes.txt"]
    assert clean_store(settings.outputs) == (0, 0)
    assert MediaStore.open(table, settings).present.all()
