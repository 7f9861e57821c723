from pathlib import Path

import pytest

from base.durable_folder import new_folder


def test_a_folder_appears_whole(tmp_path: Path) -> None:
    place = tmp_path / "owner" / "model"
    with new_folder(place) as fresh:
        (fresh / "a").write_text("1")
        (fresh / "a").chmod(0o600)
        assert not place.exists() and fresh.parent == place.parent
    assert (place / "a").read_text() == "1" and [*place.parent.iterdir()] == [place]
    assert (place / "a").stat().st_mode & 0o777 == 0o644


def test_a_folder_that_breaks_off_leaves_nothing(tmp_path: Path) -> None:
    with pytest.raises(RuntimeError), new_folder(tmp_path / "model") as fresh:
        (fresh / "a").write_text("1")
        raise RuntimeError
    assert not list(tmp_path.iterdir())


def test_what_is_there_already_stays(tmp_path: Path) -> None:
    place = tmp_path / "model"
    place.mkdir()
    (place / "kept").write_text("1")
    with pytest.raises(OSError), new_folder(place) as fresh:
        (fresh / "a").write_text("2")
    assert [one.name for one in place.iterdir()] == ["kept"] and [*tmp_path.iterdir()] == [place]
