"""The documents: every link leads somewhere, every file that they name is there, and the front page stays short."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
README = ROOT / "README.md"
DOCUMENTS = [README, *sorted((ROOT / "docs").glob("*.md"))]
MOST_WORDS = 1200
"""Of the front page: three minutes' reading."""

LINK = re.compile(r"\[[^\]]*\]\(([^)\s]+)\)")
HEADING = re.compile(r"#{1,6} +(.+)")
NAMED_DOCUMENT = re.compile(r"\bdocs/[\w/-]+\.\w+|\bREADME\.md\b")
NAMED_SOURCE = re.compile(r"`((?:core|tui|tests|docs)/[\w/.-]*)`")


def _prose(text: str) -> Iterator[str]:
    """The lines outside fenced code."""
    fenced = False
    for line in text.splitlines():
        if line.startswith("```"):
            fenced = not fenced
        elif not fenced:
            yield line


def _anchors(text: str) -> set[str]:
    """The anchors that GitHub gives the headings of a document; of equal headings the second ends in -1."""
    anchors: set[str] = set()
    for line in _prose(text):
        heading = HEADING.fullmatch(line)
        if heading:
            words = re.sub(r"\[([^\]]*)\]\([^)]*\)", r"\1", heading[1]).strip().lower()
            anchor = re.sub(r"[^\w\- ]", "", words).replace(" ", "-")
            repeats = (f"{anchor}-{count}" for count in range(1, len(anchors) + 1))
            anchors.add(anchor if anchor not in anchors else next(name for name in repeats if name not in anchors))
    return anchors


def _dead_links(document: Path) -> list[str]:
    """The relative links of a document whose file or heading does not exist."""
    dead = []
    for link in LINK.findall("\n".join(_prose(document.read_text()))):
        path, _, anchor = link.partition("#")
        target = document.parent / path if path else document
        if "://" not in link and not (target.exists() and (not anchor or anchor in _anchors(target.read_text()))):
            dead.append(link)
    return dead


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda document: document.name)
def test_every_link_leads_to_a_file_and_a_heading_that_exist(document: Path) -> None:
    assert _dead_links(document) == []


def test_a_link_to_a_missing_file_or_heading_is_noticed(tmp_path: Path) -> None:
    (tmp_path / "other.md").write_text("# S and S⁻: *both*\n## Where `x` is\n## Where x is\n```\n# no heading\n```\n")
    document = tmp_path / "document.md"
    document.write_text(
        "# Top\n[1](other.md) [2](other.md#s-and-s-both) [3](other.md#where-x-is-1) [4](#top)\n"
        "[5](https://example.org/#none) ![6](missing.png) [7](other.md#no-heading) [8](#bottom)\n"
    )
    assert _dead_links(document) == ["missing.png", "other.md#no-heading", "#bottom"]


@pytest.mark.parametrize("document", DOCUMENTS[1:], ids=lambda document: document.name)
def test_every_document_is_linked_from_the_front_page(document: Path) -> None:
    assert f"](docs/{document.name})" in README.read_text()


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda document: document.name)
def test_source_files_that_documents_name_exist(document: Path) -> None:
    named = NAMED_SOURCE.findall(document.read_text())
    assert [name for name in named if not (ROOT / name).exists()] == []


def test_documents_that_the_code_names_exist() -> None:
    named = {
        (path.relative_to(ROOT), name)
        for part in ("core", "tui", "tests")
        for path in (ROOT / part).rglob("*.py")
        if path != Path(__file__)
        for name in NAMED_DOCUMENT.findall(path.read_text())
    }
    assert named
    assert [(path, name) for path, name in named if not (ROOT / name).exists()] == []


def test_the_front_page_is_short_and_has_the_two_start_commands() -> None:
    text = README.read_text()
    assert len(text.split()) <= MOST_WORDS
    assert "\n```\npip install uv && uv run streamscope --model demo\nuv run pytest\n```\n" in text
