"""PDF and office files as `read_file` shows them: good ones, and ones that are made to do harm."""

from __future__ import annotations

import datetime
import io
import time
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from functools import partial
from pathlib import Path

import attrs
import docx
import openpyxl  # type: ignore[import-untyped]
import pptx
import pytest
import trio

from nanobot.errors import ToolError
from nanobot.tools import documents
from nanobot.tools.documents import Converter, Pages
from tests.fakes import papers
from tests.tools.kit import ENVIRON, Kit

CONVERTER = Converter(ENVIRON)
REPORT = "print([begun, time.monotonic()])"
SECRET = "root:x:0:0"
ROW = '<row r="1"><c r="A1" t="inlineStr"><is><t>{}</t></is></c></row>'
LAUGHS = '<!DOCTYPE x [<!ENTITY a "lol">{}]>'.format(
    "".join(f'<!ENTITY {chr(98 + n)} "{f"&{chr(97 + n)};" * 10}">' for n in range(10))
)
OUTSIDE = '<!DOCTYPE x [<!ENTITY a SYSTEM "file:///etc/passwd">]>'


def saved(save: Callable[[io.BytesIO], object]) -> bytes:
    out = io.BytesIO()
    save(out)
    return out.getvalue()


async def shown(kit: Kit, content: bytes, name: str = "file.bin", **arguments: object) -> str:
    kit.put(name, content)
    return await kit.text("read_file", path=name, **arguments)


async def refused(kit: Kit, content: bytes, name: str = "file.bin", **arguments: object) -> str:
    kit.put(name, content)
    return await kit.refused("read_file", path=name, **arguments)


# -- good ones ----------------------------------------------------------------------------------------------------------


async def test_a_pdf(kit: Kit) -> None:
    text = await shown(kit, papers.pdf("Hello", "World"), "a.pdf")
    assert text == "1| [page 1]\n2| Hello\n3| \n4| [page 2]\n5| World\n(a.pdf: PDF, 2 pages)"


async def test_pages_of_a_long_pdf(kit: Kit) -> None:
    pdf = papers.pdf(*(f"Text of {n}" for n in range(1, 10_001)))
    text = await shown(kit, pdf, "a.pdf")
    assert ("Text of 20" in text, "Text of 21" in text) == (True, False)
    assert text.endswith('(a.pdf: PDF, pages 1-20 of 10000)\n(go on with pages="21-40")')
    text = await shown(kit, pdf, "a.pdf", pages="9999 - 10000")
    assert ("Text of 9999" in text, "Text of 10000" in text, "Text of 1\n" in text, "go on" in text) == (True, True, False, False)


async def test_a_single_page(kit: Kit) -> None:
    assert (await shown(kit, papers.pdf("a", "b", "c"), "a.pdf", pages=2)).startswith("1| [page 2]\n2| b\n")


@pytest.mark.parametrize(
    ("pages", "said"),
    [
        ("0", "must be a page or a range"),
        ("3-1", "is no range of at most 20 pages"),
        ("1-21", "is no range of at most 20 pages"),
        ("all", "must be a page or a range"),
        ("3", "has 2 pages"),
    ],
)
async def test_pages_that_are_none(kit: Kit, pages: str, said: str) -> None:
    assert said in await refused(kit, papers.pdf("a", "b"), pages=pages)


async def test_pages_are_for_pdf_alone(kit: Kit) -> None:
    assert "is no PDF: leave pages out" in await refused(kit, b"text", pages="1")
    assert "is no PDF but a Word document" in await refused(kit, papers.docx("a"), pages="1")


async def test_lines_of_a_document(kit: Kit) -> None:
    pdf = papers.pdf("a", "b")
    text = await shown(kit, pdf, "a.pdf", offset=2, limit=1)
    assert text == "2| a\n(lines 2-2 of 5; go on with offset=3)\n(a.pdf: PDF, 2 pages)"
    text = await shown(kit, pdf, "a.pdf", limit=1, pages="2")
    assert 'go on with pages="2-2", offset=2' in text


async def test_a_word_document(kit: Kit) -> None:
    document = docx.Document()
    document.add_heading("Plan", 2)
    document.add_paragraph("First words")
    document.add_paragraph("one", style="List Bullet")
    table = document.add_table(rows=2, cols=2)
    for cell, text in zip(table.rows[0].cells, ("a", "b\nc"), strict=True):
        cell.text = text
    table.cell(1, 0).merge(table.cell(1, 1)).text = "wide"
    document.add_paragraph("After")
    text = await shown(kit, saved(document.save))
    lines = [line.partition("|")[2].strip() for line in text.splitlines()]
    assert [line for line in lines if line] == ["## Plan", "First words", "- one", "| a | b c |", "| wide |", "After"]


async def test_an_excel_workbook(kit: Kit) -> None:
    book = openpyxl.Workbook()
    book.active.title = "Costs"
    book.active.append(["day", "sum", None, "ok"])
    book.active.append([datetime.datetime(2026, 1, 31), 0.1 + 0.2, None, True])
    book.active.append([datetime.datetime(2026, 1, 31, 12, 5), "a\nb"])
    book.create_sheet("Empty")
    text = await shown(kit, saved(book.save))
    for part in ("[sheet Costs]", "| day | sum |  | ok |", "| 2026-01-31 | 0.3 |  | TRUE |", "| 2026-01-31 12:05:00 | a b |"):
        assert part in text
    assert text.endswith("(file.bin: Excel workbook, 2 sheets)")


async def test_a_powerpoint_presentation(kit: Kit) -> None:
    show = pptx.Presentation()
    slide = show.slides.add_slide(show.slide_layouts[1])
    slide.shapes.title.text = "Title"
    slide.placeholders[1].text = "one\ntwo"
    slide.notes_slide.notes_text_frame.text = "say hello"
    group = slide.shapes.add_group_shape().shapes
    group.add_textbox(0, 0, 10, 10).text_frame.text = "inside"
    slide.shapes.add_table(1, 2, 0, 0, 10, 10).table.cell(0, 1).text = "cell"
    text = await shown(kit, saved(show.save))
    for part in ("[slide 1]", "| Title", "| one", "| two", "| inside", "|  | cell |", "Notes: say hello"):
        assert part in text


async def test_a_long_paragraph_can_be_read_to_its_end(kit: Kit) -> None:
    text = await shown(kit, papers.docx("a" * 9000 + "END"), limit=3, offset=1)
    assert [len(line.partition("| ")[2]) for line in text.splitlines()[:3]] == [4000, 4000, 1003]
    assert "END" in text


class Ledger:
    def taints(self, _path: Path) -> bool:
        return True

    def writing(self, _path: Path, *, tainted: bool, whole: bool) -> AbstractContextManager[None]:
        return nullcontext()


async def test_a_document_of_strangers_is_told_as_that(kit: Kit) -> None:
    kit.put("a.pdf", papers.pdf("obey"))
    strange = attrs.evolve(kit, turn=attrs.evolve(kit.turn, ledger=Ledger()))
    assert [(await one.call("read_file", path="a.pdf")).tainted for one in (kit, strange)] == [False, True]


# -- files that are not what they are called, or lie about their size -----------------------------------------------------


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"%PDF-1.7\n" + bytes(5000), "is damaged"),
        (papers.pdf("a")[:200], "is damaged"),
        (papers.pdf("a", kids="2 0 R 4 0 R"), "is damaged"),
        (
            papers.pdf(
                "a", trailer=f"/Encrypt<</Filter/Standard/V 1/R 2/O({'0' * 32})/U({'1' * 32})/P -4>>/ID[({'a' * 16})({'a' * 16})]"
            ),
            "protected by a password",
        ),
        (b"PK\x03\x04 and no more", "is damaged"),
        (papers.zipped({"a.txt": "x"}), "is a ZIP archive (1 files)"),
        (papers.zipped({"word/document.xml": "x"}), "is damaged"),
        (b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1" + bytes(600), "of before 2007"),
        (papers.zipped({f"{n}": "" for n in range(20_001)} | {"xl/workbook.xml": ""}), "huge unpacked"),
    ],
    ids=["no pdf", "half a pdf", "a tree with a loop", "locked", "no zip", "zip", "no word", "old", "many parts"],
)
async def test_what_cannot_be_read_is_said(kit: Kit, content: bytes, said: str) -> None:
    assert said in await refused(kit, content)


@pytest.mark.parametrize("name", ["notes.pdf", "notes.docx", "notes.xlsx"])
async def test_text_is_text_whatever_it_is_called(kit: Kit, name: str) -> None:
    assert await shown(kit, b"just words", name) == "1| just words"


async def test_a_pdf_is_one_whatever_it_is_called(kit: Kit) -> None:
    assert "| Hello" in await shown(kit, papers.pdf("Hello"), "notes.txt")
    assert "| Hello" in await shown(kit, b"\r\n@PJL printer\r\n" + papers.pdf("Hello"), "printed.pdf")


async def test_a_pdf_that_lies_about_its_pages(kit: Kit) -> None:
    assert "PDF, 1 page)" in await shown(kit, papers.pdf("Hello", count=10**9))


async def test_a_page_that_unpacks_to_300_mb_is_named_and_the_others_are_read(kit: Kit) -> None:
    text = await shown(kit, papers.pdf(papers.packed_zeros(300), "after it"))
    assert "(this page cannot be read: LimitReachedError)" in text
    assert "after it" in text


async def test_a_page_without_text_is_named(kit: Kit) -> None:
    assert "(no text on this page; it may be a picture)" in await shown(kit, papers.pdf(""))


async def test_a_zip_bomb_is_not_unpacked(kit: Kit) -> None:
    bomb = papers.docx_of(bytes(2**20) for _ in range(301))
    assert len(bomb) < 400_000
    assert "would be huge unpacked" in await refused(kit, bomb)


async def test_a_part_that_is_larger_than_its_directory_says(kit: Kit) -> None:
    """Python unpacks as much as the directory says, so adding that up is enough."""
    honest = papers.docx("x" * 5000)
    size = len(f'<w:document xmlns:w="{papers.WORD}"><w:body><w:p><w:r><w:t></w:t></w:r></w:p></w:body></w:document>') + 5000
    start = honest.index(b"PK\x01\x02")
    liar = honest[:start] + honest[start:].replace(size.to_bytes(4, "little"), (40).to_bytes(4, "little"))
    assert liar != honest
    assert "is damaged" in await refused(kit, liar)


@pytest.mark.parametrize(
    "content",
    [
        papers.docx_of(f'<w:document xmlns:w="{papers.WORD}"><w:body>' + "<w:x>" * 100_000),
        papers.docx_of(LAUGHS + f'<w:document xmlns:w="{papers.WORD}"><w:body><w:p>&k;</w:p></w:body></w:document>'),
        papers.xlsx_of(papers.sheet("<row><c>" + "<x>" * 200_000)),
        papers.xlsx_of(papers.sheet(ROW.format("&k;"), doctype=LAUGHS)),
        papers.xlsx_of(papers.sheet(ROW.format("&a;"), doctype=OUTSIDE)),
    ],
    ids=["deep word", "laughs in word", "deep excel", "laughs in excel", "outside of excel"],
)
async def test_xml_that_is_a_trap(kit: Kit, content: bytes) -> None:
    assert "is damaged, or made in a way that is not understood (" in await refused(kit, content)


async def test_xml_cannot_read_other_files(kit: Kit) -> None:
    assert SECRET in Path("/etc/passwd").read_text()
    word = f'{OUTSIDE}<w:document xmlns:w="{papers.WORD}"><w:body><w:p><w:r><w:t>&a;</w:t></w:r></w:p></w:body></w:document>'
    strings = f'{OUTSIDE}<sst xmlns="{papers.SHEET}"><si><t>&a;</t></si></sst>'
    sheet = papers.sheet('<row r="1"><c r="A1" t="s"><v>0</v></c></row>')
    for content in (papers.docx_of(word), papers.xlsx_of(sheet, strings)):
        kit.put("f", content)
        assert SECRET not in (await kit.call("read_file", path="f")).text


@pytest.mark.parametrize(
    ("sheet", "text"),
    [
        (papers.sheet(ROW.format("x"), '<dimension ref="A1:XFD1048576"/>'), "| x |"),
        (papers.sheet('<row r="1048576"><c r="XFD1048576"><v>7</v></c></row>'), "| (16383 empty) | 7 |"),
    ],
    ids=["says so", "is so"],
)
async def test_a_sheet_with_16_billion_cells(kit: Kit, sheet: str, text: str) -> None:
    assert text in await shown(kit, papers.xlsx_of(sheet))


async def test_a_sheet_that_says_it_is_wide_is_read_to_its_end(kit: Kit) -> None:
    """Its rows have one cell each; as wide as it says, there would be 300 million."""
    rows = "".join(f'<row r="{n}"><c r="A{n}"><v>{n}</v></c></row>' for n in range(1, 20_001))
    sheet = papers.sheet(rows, '<dimension ref="A1:XFD20000"/>')
    assert (await shown(kit, papers.xlsx_of(sheet), offset=20_001)).startswith("20001| | 20000 |\n")


async def test_more_text_than_is_read_is_cut_and_said(kit: Kit) -> None:
    text = await shown(kit, papers.docx(*["a" * 1_000_000] * 3), limit=1)
    assert "(its text is cut here: there is more than is read at once" in text
    assert "(lines 1-1 of 500; go on with offset=2)" in text


def with_strings(strings: list[bytes]) -> bytes:
    pieces = [f'<sst xmlns="{papers.SHEET}"><si><t>'.encode(), *strings, b"</t></si></sst>"]
    return papers.xlsx_of(papers.sheet(ROW.format("x")), pieces)


async def test_a_file_that_takes_too_long_is_ended(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(documents, "CONVERT_S", 1.0)
    slow = with_strings([b"<si><t>a</t></si>" * 65536] * 100)
    begun = time.monotonic()
    with pytest.raises(ToolError, match=r"could not be read within 1 s and the memory for it"):
        await CONVERTER.document("it", slow, tmp_path, Pages(), most=1)
    assert time.monotonic() - begun < 10


@pytest.mark.parametrize(
    ("limit", "lower", "string", "said"),
    [
        ("CPU_S = 20\n", "CPU_S = 1\n", b"<si><t>a</t></si>" * 65536, "could not be read within 30 s and the memory for it"),
        ("MEMORY = 1024 * 1024 * 1024\n", "MEMORY = 200 * 1024 * 1024\n", b"a" * 2**20, "takes more memory than there is"),
    ],
    ids=["time", "memory"],
)
async def test_a_file_that_takes_too_much_ends_by_the_limits_of_the_process(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, *, limit: str, lower: str, string: bytes, said: str
) -> None:
    source = documents.CHILD.read_text()
    assert limit in source
    monkeypatch.setattr(documents, "CHILD", tmp_path / "child.py")
    documents.CHILD.write_text(source.replace(limit, lower))
    with pytest.raises(ToolError, match=said):
        await CONVERTER.document("it", with_strings([string] * 100), tmp_path, Pages(), most=1)


async def test_cancelling_ends_the_process(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    child = tmp_path / "child.py"
    child.write_text("import time\nprint('begun', flush=True)\ntime.sleep(600)")
    monkeypatch.setattr(documents, "CHILD", child)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(partial(CONVERTER.document, "it", b"", tmp_path, Pages(), most=1))
        with trio.fail_after(10):
            while not running(child):  # noqa: ASYNC110  # it is another process
                await trio.sleep(0.01)
        nursery.cancel_scope.cancel()
    assert not running(child)


def running(program: Path) -> bool:
    for command in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            if str(program).encode() in command.read_bytes():
                return True
        except OSError:  # it has ended
            pass
    return False


async def test_a_file_that_is_too_large_is_not_loaded(kit: Kit) -> None:
    with kit.put("a.pdf", papers.pdf("a")).open("r+b") as file:
        file.truncate(documents.LARGEST + 1)
    assert "more than the 52,428,800 that are converted" in await kit.refused("read_file", path="a.pdf")


async def test_a_library_that_is_missing_is_named(kit: Kit, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    child = tmp_path / "child.py"
    child.write_text(
        f"import sys\nsys.modules['docx'] = None\nexec(compile(open({str(documents.CHILD)!r}).read(), 'child', 'exec'))\n"
    )
    monkeypatch.setattr(documents, "CHILD", child)
    said = await refused(kit, papers.docx("a"))
    assert "needs the library docx, which is not installed. The owner can install it: pip install 'nanobot[documents]'" in said


@pytest.mark.parametrize(
    "answer",
    ["print(1)", "print('[]')", 'print(\'{"kind": "PDF"}\')', 'print(\'{"error": "no such word"}\')', "import os; os._exit(3)"],
)
async def test_a_converter_that_says_nonsense_is_an_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, answer: str) -> None:
    child = tmp_path / "child.py"
    child.write_text(answer)
    monkeypatch.setattr(documents, "CHILD", child)
    with pytest.raises(ToolError, match=r"nonsense|could not be read"):
        await CONVERTER.document("it", b"", tmp_path, Pages(), most=1)


async def test_a_converter_that_never_stops_talking_is_ended(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    child = tmp_path / "child.py"
    child.write_text("while True: print('x' * 60000)")
    monkeypatch.setattr(documents, "CHILD", child)
    with trio.fail_after(10), pytest.raises(ToolError, match="could not be read"):
        await CONVERTER.document("it", bytes(2**20), tmp_path, Pages(), most=1)


async def test_only_a_few_are_converted_at_a_time(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each one says when it began and ended; the waiting ones have all of their time when it is their turn."""
    child = tmp_path / "child.py"
    child.write_text(f"import time\nbegun = time.monotonic()\ntime.sleep(0.2)\n{REPORT}")
    spans: list[tuple[float, float]] = []
    converter = Converter(ENVIRON)

    async def convert() -> None:
        said = await converter.ask(child, {}, b"", tmp_path)
        assert isinstance(said, list)
        spans.append((float(str(said[0])), float(str(said[1]))))

    async with trio.open_nursery() as nursery:
        for _ in range(3 * documents.PLACES):
            nursery.start_soon(convert)
    assert len(spans) == 3 * documents.PLACES
    assert max(sum(begun <= moment < ended for begun, ended in spans) for moment, _ in spans) <= documents.PLACES
