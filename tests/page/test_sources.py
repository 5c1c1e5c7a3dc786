"""What must not be in the page's files: ways to make HTML or code of text, and anything from elsewhere."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from nanobot.web import files

FORBIDDEN = re.compile(
    r"innerHTML|outerHTML|insertAdjacentHTML|document\.write|setHTML|DOMParser|createContextualFragment|srcdoc"
    r"|\beval\b|new Function|javascript:|\.style\b|cssText"
    r"|setTimeout\(\s*[\"'`]|<script(?![^>]* src=)|<style|\sstyle=|\son\w+=\""
    r"|https?://(?!www\.w3\.org/2000/svg)|@import|url\("
)
FILES = sorted(files.HERE.iterdir())


@pytest.mark.parametrize("file", FILES, ids=lambda file: file.name)
def test_a_file_of_the_page_reads_no_html_and_fetches_nothing_from_elsewhere(file: Path) -> None:
    text = file.read_text()
    text = text.replace(r"https?:\/\/", "").replace("new URL(`https://", "").replace("safe(`https://", "")
    assert FORBIDDEN.findall(text) == []


def test_the_page_has_only_files_that_a_server_knows() -> None:
    assert {f"/{file.name}" for file in FILES} | {"/"} == set(files.read())


def test_the_page_is_small() -> None:
    assert sum(file.stat().st_size for file in FILES) < 100_000
