"""Markdown as models write it becomes the right elements, in time that grows with the text and no faster."""

from __future__ import annotations

import json

import pytest

from tests.page.browser import Page

MADE = """import('./markdown.js').then(({ markdown }) => {
  const holder = document.createElement('div');
  holder.append(markdown(%s));
  return holder.innerHTML;
})"""
LINK = '<a href="%s" title="%s" target="_blank" rel="noopener noreferrer">%s</a>'


def link(url: str, words: str) -> str:
    return LINK % (url, url, words)


CASES = [
    ("plain", "<p>plain</p>"),
    ("one\ntwo\n\nthree", "<p>one<br>two</p><p>three</p>"),
    ("# Title #\n###### Small", "<h3>Title</h3><h6>Small</h6>"),
    ("#tag is no heading", "<p>#tag is no heading</p>"),
    ("---\n***", "<hr><hr>"),
    ("*a* _b_ **c** __d__ ~~e~~ ***f***",
     "<p><em>a</em> <em>b</em> <strong>c</strong> <strong>d</strong> <del>e</del> <strong><em>f</em></strong></p>"),
    ("**a *b* c**", "<p><strong>a <em>b</em> c</strong></p>"),
    ("snake_case_name and 2 * 3 * 4", "<p>snake_case_name and 2 * 3 * 4</p>"),
    ("**完了。**次", "<p><strong>完了。</strong>次</p>"),
    ("f(*args, **kwargs)", "<p>f(*args, **kwargs)</p>"),
    ("`a *b*` and ``c ` d``", "<p><code>a *b*</code> and <code>c ` d</code></p>"),
    ("an ` open tick", "<p>an ` open tick</p>"),
    (r"\*not\* \[this\]", "<p>*not* [this]</p>"),
    ("```py\nx = <b>\n```\nafter",
     '<div class="code"><span class="language">py</span><pre tabindex="0"><code>x = &lt;b&gt;</code></pre></div><p>after</p>'),
    ("~~~\n```\n~~~", '<div class="code"><pre tabindex="0"><code>```</code></pre></div>'),
    ("```\nnever closed", '<div class="code"><pre tabindex="0"><code>never closed</code></pre></div>'),
    ("> quoted\n> > deeper", "<blockquote><p>quoted</p><blockquote><p>deeper</p></blockquote></blockquote>"),
    ("- a\n- b\n  - c\n\n    more c\n- d",
     "<ul><li><p>a</p></li><li><p>b</p><ul><li><p>c</p><p>more c</p></li></ul></li><li><p>d</p></li></ul>"),
    ("1. a\n  - b\n2. c", "<ol><li><p>a</p><ul><li><p>b</p></li></ul></li><li><p>c</p></li></ol>"),
    ("3) a\n\n4) b", '<ol start="3"><li><p>a</p></li><li><p>b</p></li></ol>'),
    ("- [ ] open\n- [x] done", "<ul><li><p>☐ open</p></li><li><p>☑ done</p></li></ul>"),
    ("| a | b |\n|:-:|--:|\n| 1 |\n| 2 | 3 | 4 |",
     '<div class="table" tabindex="0"><table><thead><tr><th class="middle">a</th><th class="right">b</th></tr></thead><tbody>'
     '<tr><td class="middle">1</td></tr><tr><td class="middle">2</td><td class="right">3</td></tr></tbody></table></div>'),
    ("a | b", "<p>a | b</p>"),
    ("[words](https://a.example/b_(c) \"title\")", f"<p>{link('https://a.example/b_(c)', 'words')}</p>"),
    ("[*w*](<https://a.example/>)", f"<p>{link('https://a.example/', '<em>w</em>')}</p>"),
    ("see https://a.example/b_c_d.", f"<p>see {link('https://a.example/b_c_d', 'https://a.example/b_c_d')}.</p>"),
    ("**https://a.example/**", f"<p><strong>{link('https://a.example/', 'https://a.example/')}</strong></p>"),
    ("(https://a.example/b)", f"<p>({link('https://a.example/b', 'https://a.example/b')})</p>"),
    ("<mailto:me@a.example>", f"<p>{link('mailto:me@a.example', 'mailto:me@a.example')}</p>"),
    ("![a cat](https://a.example/cat.png)", f"<p>{link('https://a.example/cat.png', 'a cat')}</p>"),
    ("[bank.example](https://evil.example/)", f"<p>{link('https://evil.example/', 'bank.example (evil.example)')}</p>"),
    ("https://bank.example@evil.example/",
     f"<p>{link('https://bank.example@evil.example/', 'https://bank.example@evil.example/ (evil.example)')}</p>"),
    ("[a](b) [c](/d) [e]() [f", "<p>[a](b) [c](/d) [e]() [f</p>"),
    ("[a [b](https://b.example/) c](https://c.example/)",
     f"<p>[a {link('https://b.example/', 'b')} c](<a href=\"https://c.example/\" title=\"https://c.example/\" target=\"_blank\""
     ' rel="noopener noreferrer">https://c.example/</a>)</p>'),
]  # fmt: skip


async def test_markdown_becomes_elements(page: Page) -> None:
    for text, wanted in CASES:
        assert await page.value(MADE % json.dumps(text)) == wanted, text


N = 200_000
LONG = {
    "stars": "*" * N, "a star a word": "*a " * (N // 3), "pairs": "**a*" * (N // 4), "underscores": "_a_" * (N // 3),
    "open brackets": "[" * N, "open links": "[a](" * (N // 4), "half links": "](" * (N // 2), "parentheses": "[a](" + "(" * N,
    "groups": "](a(b)" * (N // 6), "spaces in a link": "[a](" + " " * N + "x", "pictures": "![" * (N // 2),
    "ticks": "".join("`" * (n % 600) + " " for n in range(700)), "backslashes": "\\" * N, "newlines": "a\n" * (N // 2),
    "quotes": "> " * (N // 2), "quotes by line": "\n".join("> " * (n % 300) + "a" for n in range(1300)),
    "list marks": "- " * (N // 2), "nested lists": "\n".join(" " * (n % 200) + "- a" for n in range(2000)),
    "blank items": "-\n\n" * (N // 3), "tildes": "~" * N + "`", "dashes": "-" * N + "x", "dashed cells": "a|b\n" + "-" * N + "x",
    "hashes": "# " * (N // 2), "addresses": "https://" * (N // 8), "no addresses": "https://^ " * (N // 10), "h": "h" * N,
    "wide table": "a|" * 30_000 + "\n" + "-|" * 30_000 + "\n" + "|\n" * 40_000, "angles": "<https://" * (N // 9),
    "entities": "&lt;" * (N // 4), "fences": "```\n" * (N // 4), "stars and spaces": "* " * (N // 2),
    "titles": '[a](b "' * (N // 7), "ends without a beginning": "_a " * (N // 6) + "b* " * (N // 6),
    "deep": "**a *b " * (N // 14) + "c* d** " * (N // 14),
}  # fmt: skip
BUDGET_MS = 2000
"""For 200 kB on a slow machine: the slowest takes a sixth of it, and a quadratic one many times as much."""


@pytest.mark.parametrize("name", LONG)
async def test_no_text_holds_the_page(page: Page, name: str) -> None:
    await page.value(f"window.text = {json.dumps(LONG[name])}; 1")
    await page.value("import('./markdown.js').then(({ markdown }) => { window.markdown = markdown; })")
    assert await page.value("((start) => markdown(text) && performance.now() - start)(performance.now())") < BUDGET_MS
