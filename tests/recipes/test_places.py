"""Where the files of a run are looked for."""

import os

from recipes.places import existing_run


def test_a_run_is_found_by_its_name_from_a_folder_that_this_user_may_not_read(tmp_path, monkeypatch):
    """As the command of another user, begun in root's home by `runuser`, does."""
    closed, run = tmp_path / "root", tmp_path / "home" / "runs" / "first"
    closed.mkdir()
    run.mkdir(parents=True)
    monkeypatch.setenv("MURMUR_HOME", str(tmp_path / "home"))
    monkeypatch.chdir(closed)
    stat = os.stat

    def refusing(path, *options, **named):
        if str(path).startswith(str(closed)):
            raise PermissionError(13, "Permission denied")
        return stat(path, *options, **named)

    monkeypatch.setattr(os, "stat", refusing)
    assert existing_run("runs/first") == existing_run("first") == run
