"""Tool results and media are kept within age and size, the newest first."""

from __future__ import annotations

import os
from pathlib import Path

from nanobot.config.schema import RetentionConfig
from nanobot.gateway.sweep import sweep_media, sweep_results

NOW, DAY = 1_000_000.0, 86400.0


def result(folder: Path, name: str, age_days: float, size: int = 10) -> Path:
    file = folder / "session" / name
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_bytes(b"x" * size)
    os.utime(file, (NOW - age_days * DAY, NOW - age_days * DAY))
    return file


def test_the_old_go_and_the_young_stay(tmp_path: Path) -> None:
    old, young = result(tmp_path, "old", 3.1), result(tmp_path, "young", 2.9)
    assert sweep_results(tmp_path, RetentionConfig(tool_results_days=3), NOW) == 1
    assert (old.exists(), young.exists()) == (False, True)


def test_beyond_the_size_the_oldest_go(tmp_path: Path) -> None:
    files = [result(tmp_path, str(age), age, 400_000) for age in range(5)]
    sweep_results(tmp_path, RetentionConfig(tool_results_mb=1), NOW)
    assert [file.exists() for file in files] == [True, True, False, False, False]


def test_media_have_bounds_of_their_own(tmp_path: Path) -> None:
    files = [result(tmp_path, str(age), age, 400_000) for age in range(5)]
    bounds = RetentionConfig(tool_results_days=0, tool_results_mb=1, media_days=2.5)
    assert sweep_media(tmp_path, bounds, NOW) == 2
    assert sweep_media(tmp_path, RetentionConfig(media_mb=1), NOW) == 1
    assert [file.exists() for file in files] == [True, True, False, False, False]


def test_links_and_folders_are_left_alone(tmp_path: Path) -> None:
    outside = tmp_path / "precious"
    outside.write_text("x")
    (tmp_path / "results" / "s").mkdir(parents=True)
    (tmp_path / "results" / "s" / "link").symlink_to(outside)
    (tmp_path / "results" / "s" / "folder").mkdir()
    assert sweep_results(tmp_path / "results", RetentionConfig(tool_results_days=0), NOW + 1e9) == 0
    assert outside.exists()


def test_no_folder_is_nothing_to_do(tmp_path: Path) -> None:
    assert sweep_results(tmp_path / "none", RetentionConfig(), NOW) == 0
