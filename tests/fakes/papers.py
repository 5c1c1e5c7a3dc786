"""PDF and office files for tests, good ones and hostile ones, as bytes."""

from __future__ import annotations

import io
import zipfile
import zlib
from collections.abc import Iterable, Mapping

TYPES = "http://schemas.openxmlformats.org/package/2006/content-types"
RELATIONS = "http://schemas.openxmlformats.org/package/2006/relationships"
OFFICE = "http://schemas.openxmlformats.org/officeDocument/2006/relationships"
FORMAT = "application/vnd.openxmlformats-officedocument"
WORD = "http://schemas.openxmlformats.org/wordprocessingml/2006/main"
SHEET = "http://schemas.openxmlformats.org/spreadsheetml/2006/main"


def pdf(*pages: str | bytes, count: int | None = None, kids: str | None = None, trailer: str = "") -> bytes:
    """A page for each text; bytes are a page's packed stream. count: of pages, as it says. kids: instead of the true ones."""
    objects = [b"<</Type/Catalog/Pages 2 0 R>>"]
    numbers = range(4, 4 + 2 * len(pages), 2)
    listed = " ".join(f"{number} 0 R" for number in numbers) if kids is None else kids
    objects.append(f"<</Type/Pages/Kids[{listed}]/Count {len(pages) if count is None else count}>>".encode())
    objects.append(b"<</Type/Font/Subtype/Type1/BaseFont/Helvetica>>")
    for number, page in zip(numbers, pages, strict=True):
        resources = f"/Resources<</Font<</F1 3 0 R>>>>/Contents {number + 1} 0 R"
        objects.append(f"<</Type/Page/Parent 2 0 R/MediaBox[0 0 612 792]{resources}>>".encode())
        packed = "/Filter/FlateDecode" if isinstance(page, bytes) else ""
        stream = page if isinstance(page, bytes) else f"BT /F1 12 Tf 72 720 Td ({page}) Tj ET".encode()
        objects.append(f"<</Length {len(stream)}{packed}>>\nstream\n".encode() + stream + b"\nendstream")
    out, places = io.BytesIO(b""), []
    out.write(b"%PDF-1.7\n")
    for index, one in enumerate(objects, 1):
        places.append(out.tell())
        out.write(f"{index} 0 obj\n".encode() + one + b"\nendobj\n")
    start = out.tell()
    out.write(f"xref\n0 {len(places) + 1}\n0000000000 65535 f \n".encode())
    out.write(b"".join(f"{place:010} 00000 n \n".encode() for place in places))
    out.write(f"trailer\n<</Size {len(places) + 1}/Root 1 0 R{trailer}>>\nstartxref\n{start}\n%%EOF".encode())
    return out.getvalue()


def packed_zeros(megabytes: int) -> bytes:
    packer = zlib.compressobj(9)
    return b"".join(packer.compress(bytes(2**20)) for _ in range(megabytes)) + packer.flush()


def zipped(parts: Mapping[str, str | bytes | Iterable[bytes]]) -> bytes:
    """An archive; a part that is a series of pieces is packed piece by piece."""
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in parts.items():
            with archive.open(name, "w") as part:
                for piece in [content] if isinstance(content, (str, bytes)) else content:
                    part.write(piece.encode() if isinstance(piece, str) else piece)
    return out.getvalue()


def docx_of(document: str | Iterable[bytes]) -> bytes:
    """A Word file with this XML as its document."""
    return zipped(_package("word/document.xml", "wordprocessingml.document.main") | {"word/document.xml": document})


def docx(*paragraphs: str) -> bytes:
    body = "".join(f"<w:p><w:r><w:t>{text}</w:t></w:r></w:p>" for text in paragraphs)
    return docx_of(f'<w:document xmlns:w="{WORD}"><w:body>{body}</w:body></w:document>')


def xlsx_of(sheet: str | Iterable[bytes], strings: str | Iterable[bytes] = "") -> bytes:
    """An Excel file with this XML as its only sheet, and as its shared strings."""
    types = f'<Override PartName="/xl/worksheets/sheet1.xml" ContentType="{FORMAT}.spreadsheetml.worksheet+xml"/>'
    book = f'<workbook xmlns="{SHEET}" xmlns:r="{OFFICE}"><sheets><sheet name="One" sheetId="1" r:id="rId1"/></sheets></workbook>'
    relation = f'<Relationship Id="rId1" Type="{OFFICE}/worksheet" Target="worksheets/sheet1.xml"/>'
    if strings:
        types += f'<Override PartName="/xl/sharedStrings.xml" ContentType="{FORMAT}.spreadsheetml.sharedStrings+xml"/>'
        relation += f'<Relationship Id="rId2" Type="{OFFICE}/sharedStrings" Target="sharedStrings.xml"/>'
    parts: dict[str, str | bytes | Iterable[bytes]] = {
        **_package("xl/workbook.xml", "spreadsheetml.sheet.main", types),
        "xl/workbook.xml": book,
        "xl/_rels/workbook.xml.rels": f'<Relationships xmlns="{RELATIONS}">{relation}</Relationships>',
        "xl/worksheets/sheet1.xml": sheet,
    }
    return zipped(parts | {"xl/sharedStrings.xml": strings} if strings else parts)


def sheet(rows: str, before: str = "", doctype: str = "") -> str:
    return f'<?xml version="1.0"?>{doctype}<worksheet xmlns="{SHEET}">{before}<sheetData>{rows}</sheetData></worksheet>'


def _package(main: str, kind: str, more: str = "") -> dict[str, str | bytes | Iterable[bytes]]:
    defaults = (
        '<Default Extension="rels" ContentType="application/vnd.openxmlformats-package.relationships+xml"/>'
        '<Default Extension="xml" ContentType="application/xml"/>'
    )
    override = f'<Override PartName="/{main}" ContentType="{FORMAT}.{kind}+xml"/>'
    return {
        "[Content_Types].xml": f'<Types xmlns="{TYPES}">{defaults}{override}{more}</Types>',
        "_rels/.rels": f'<Relationships xmlns="{RELATIONS}"><Relationship Id="rId1" Type="{OFFICE}/officeDocument" '
        f'Target="{main}"/></Relationships>',
    }
