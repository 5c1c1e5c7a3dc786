"""Words and searches: what is found by what, in the scripts that people write in, and that any text is a search."""

from __future__ import annotations

import sqlite3

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nanobot.memory import words
from nanobot.memory.excerpts import MARK, MOST_CHARS, excerpt
from nanobot.memory.words import Term, clean, indexed, read

ANY = st.text() | st.text(alphabet="\"-*():^{}+ \0'NEAROANDT東京서울あ\u0301äß\ud800;,/\\") | st.text(st.characters())


def table(*texts: str) -> sqlite3.Connection:
    connection = sqlite3.connect(":memory:")
    connection.execute("CREATE VIRTUAL TABLE t USING fts5(body, content='', tokenize='ascii')")
    for number, text in enumerate(texts):
        connection.execute("INSERT INTO t(rowid, body) VALUES (?, ?)", (number, indexed(clean(text))))
    return connection


def matches(query: str, text: str) -> bool:
    """Whether the text is found, as SQLite sees it; the marks of the excerpt have to agree."""
    search, connection = read(query), table(text)
    if not search.wanted:
        return False
    sql = words.expression(search.wanted, " AND ")
    if search.unwanted:
        sql = f"({sql}) NOT ({words.expression(search.unwanted, ' OR ')})"
    found = bool(connection.execute("SELECT 1 FROM t WHERE t MATCH ?", (sql,)).fetchall())
    marked = excerpt(clean(text), search.wanted).terms == len(search.wanted)
    assert marked or not found
    return found


@pytest.mark.parametrize(
    ("query", "text"),
    [
        ("hotel", "We booked a Hotel."),
        ("HOTEL berlin", "Berlin: the hotel"),
        ("muller strasse", "Frau Müller wohnt in der Königstraße, Straße 3"),
        ("MÜLLER", "mu\u0308ller, decomposed"),
        ("Größe", "GRÖSSE 42"),
        ("cafe", "café"),
        ("ёлка", "елка"),
        ("istanbul", "İstanbul"),
        ("full width", "ＦＵＬＬ　ＷＩＤＴＨ"),
        ("config.json", "see ~/.nanobot/config.json for it"),
        ("ann@example.org", "write to Ann@example.org"),
        ('"to be or not"', "to be, or not to be"),
        ("hot*", "many hotels"),
        ("hotel -berlin", "a hotel in Paris"),
        ("北京", "我们明天去北京旅行"),
        ("旅行 北京", "我们明天去北京旅行"),
        ("明天去北京", "我们明天去北京旅行"),
        ("京", "我们明天去北京旅行"),
        ("京都", "東京都庁に行った"),
        ("都庁", "東京都庁に行った"),
        ("ガイド", "旅行ガイドブック"),
        ("ガイド", "ｶﾞｲﾄﾞ"),
        ("らーめん", "昨日らーめんを食べた"),
        ("서울", "서울에서 만나요"),
        ("만나", "서울에서 만나요"),
        ("한국", "\u1112\u1161\u11ab\u1100\u116e\u11a8 decomposed"),
        ('"서울 사람"', "그는 서울 사람이다"),
        ("东京 tower", "东京 tower 很高"),
        ('"tower 很高"', "东京 tower 很高"),
        ("iphone 手机", "我的iPhone手机"),
        ("กรุงเทพ", "ไปกรุงเทพพรุ่งนี้"),
        ("हिन्दी", "मैं हिन्दी बोलता हूँ"),
        ("שלום", "שָׁלוֹם"),
        ("a" * 100, f"data {'a' * 100} data"),
    ],
)
def test_what_is_found(query: str, text: str) -> None:
    assert matches(query, text)


@pytest.mark.parametrize(
    ("query", "text"),
    [
        ("hotel", "hotels"),
        ("hotel paris", "a hotel in Berlin"),
        ('"be to"', "to be"),
        ("hotel -berlin", "a hotel in Berlin"),
        ('hotel -"in berlin"', "a hotel in Berlin"),
        ("ハート", "バード"),
        ("北京", "北方和东京"),
        ("서울", "서쪽 울산"),
        ('"北京 旅行"', "北京很好，旅行"),
        ("*", "anything"),
        ("-hotel", "anything"),
    ],
)
def test_what_is_not_found(query: str, text: str) -> None:
    assert not matches(query, text)


@pytest.mark.parametrize(
    ("query", "wanted", "unwanted"),
    [
        ('a "b c" d', [("a",), ("b", "c"), ("d",)], []),
        ('a -b -"c d"', [("a",)], [("b",), ("c", "d")]),
        ('never "closed quote', [("never",), ("closed", "quote")], []),
        ('glued"to it"too', [("glued",), ("to", "it"), ("too",)], []),
        ("well-known - a", [("well", "known"), ("a",)], []),
        ("„zitiert so“ «et ainsi»", [("zitiert", "so"), ("et", "ainsi")], []),
        ("AND OR NOT NEAR(a b) col:x ^y", [("and",), ("or",), ("not",), ("near", "a"), ("b",), ("col", "x"), ("y",)], []),
        ("a a A", [("a",)], []),
        ("", [], []),
    ],
)
def test_a_search_as_it_is_read(query: str, wanted: list[tuple[str, ...]], unwanted: list[tuple[str, ...]]) -> None:
    search = read(query)
    assert ([t.tokens for t in search.wanted], [t.tokens for t in search.unwanted]) == (wanted, unwanted)


@given(ANY, ANY)
def test_no_text_is_an_error_of_the_database(query: str, text: str) -> None:
    matches(query, text)


@given(ANY)
def test_every_text_is_found_by_itself(text: str) -> None:
    quoted = f'"{clean(text).replace(chr(34), " ")[: words.LONGEST_QUERY - 2]}"'
    if read(quoted).wanted:
        assert matches(quoted, text.replace('"', " "))


@given(ANY)
def test_words_are_what_a_tokenizer_leaves_as_it_is(text: str) -> None:
    tokens = indexed(clean(text)).split(" ")
    assert all(token == "" or (token == token.lower() and token.isalnum()) for token in tokens if token.isascii())


@given(ANY)
def test_what_is_indexed_is_what_is_marked(text: str) -> None:
    folded = words.fold(clean(text))
    assert words._words(folded)[0] == [word for word, _, _ in words._placed(folded)]


def test_the_longest_search_is_one() -> None:
    query = " ".join(f"w{n}" for n in range(1000))
    assert len(read(query).wanted) > 150
    assert matches(query[: words.LONGEST_QUERY].rpartition(" ")[0], query)


# --- excerpts


@pytest.mark.parametrize(
    ("query", "text", "expected"),
    [
        ("hotel", "We booked a Hotel.", "We booked a **Hotel**."),
        ("strasse", "Königstraße, Straße 3", "Königstraße, **Straße** 3"),
        ("京都", "東京都庁", "東**京都**庁"),
        ("東京都", "東京都庁", "**東京都**庁"),
        ("京", "東京都", "東**京**都"),
        ("hot*", "hotels", "**hotels**"),
        ("a b", "a b c", "**a** **b** c"),
        ("none", "two\nlines", "two lines"),
    ],
)
def test_hits_are_marked(query: str, text: str, expected: str) -> None:
    assert excerpt(text, read(query).wanted).text == expected


def test_an_excerpt_is_of_where_most_of_the_words_are() -> None:
    text = f"alpha {'x ' * 500} alpha beta {'y ' * 500}"
    shown = excerpt(text, read("alpha beta").wanted).text
    assert f"{MARK}alpha{MARK} {MARK}beta{MARK}" in shown
    assert (shown[0], shown[-1]) == ("…", "…")
    assert len(shown.replace(MARK, "")) <= MOST_CHARS + 2


@given(ANY, ANY)
def test_an_excerpt_is_a_bounded_line_of_the_text(text: str, query: str) -> None:
    shown = excerpt(clean(text), read(query).wanted).text
    assert "\n" not in shown
    if MARK not in text:
        assert shown.replace(MARK, "").strip("…").strip() in " ".join(clean(text).split())


def test_a_term_is_not_found_in_nothing() -> None:
    assert excerpt("", [Term(("a",))]).text == ""
