"""A report as a page of its own, for people without GitHub at hand."""

from html import escape

from markdown_it import MarkdownIt

STYLE = """
body{font:16px/1.5 system-ui,sans-serif;max-width:62rem;margin:2rem auto;padding:0 1rem}
body{color:#1f2328}
table{border-collapse:collapse;display:block;overflow-x:auto}
th,td{border:1px solid #d1d9e0;padding:.35rem .7rem}th{background:#f6f8fa}
code{background:#f0f1f3;padding:.1rem .3rem;border-radius:4px;font-size:85%}
pre{overflow-x:auto;background:#f6f8fa;padding:.8rem}pre code{background:none}
details{margin:.8rem 0}summary{cursor:pointer;font-weight:600}h2{border-bottom:1px solid #d1d9e0}
@media(prefers-color-scheme:dark){body{background:#0d1117;color:#f0f6fc}th{background:#151b23}
code{background:#262c36}pre{background:#151b23}th,td,h2{border-color:#3d444d}}
"""


def head(title: str) -> str:
    """How such a page begins."""
    return f'<!doctype html>\n<html lang="en"><meta charset="utf-8"><title>{escape(title)}</title>'


def page(markdown: str, title: str) -> str:
    """GitHub-flavoured Markdown as an HTML page that needs no network.

    The Markdown is ours and its data is escaped, so that HTML in it (folds, pictures) is kept.
    """
    body = MarkdownIt("commonmark", {"html": True}).enable("table").render(markdown)
    return (
        f'{head(title)}<meta name="viewport" content="width=device-width">'
        f"<style>{STYLE}</style>\n{body}</html>"
    )
