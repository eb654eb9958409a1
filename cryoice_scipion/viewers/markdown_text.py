# SPDX-License-Identifier: GPL-3.0-or-later
"""Show the Markdown of a model card: headings, lists, code and tables."""

from __future__ import annotations

import tkinter as tk
from tkinter import font as fonts
from typing import List

from markdown_it.token import Token

from cryoice_scipion.core.reports.html import card_parser

SIZES = {"h1": 16, "h2": 13, "h3": 11}  # pt
INDENT, GAP = 24, 24  # px: of a level of a list, between two columns of a table
LEVELS = 4  # of lists, with an indentation of their own
MARGIN = 12  # px


class MarkdownText(tk.Text):
    """Text that cannot be edited, with the formats of Markdown."""

    def __init__(self, master: tk.Misc, text: str) -> None:
        """Show a text in Markdown."""
        super().__init__(master, wrap=tk.WORD, font="TkDefaultFont", bg="white")
        self.config(padx=MARGIN, pady=MARGIN, borderwidth=0)
        plain = fonts.Font(self, name="TkDefaultFont", exists=True)
        family = plain.actual("family")
        for name, size in SIZES.items():
            self.tag_config(name, font=(family, size, "bold"), spacing1=12, spacing3=4)
        self.tag_config("head", font=(family, plain.actual("size"), "bold"))
        self.tag_config("code", font="TkFixedFont", background="#f0f0f0")
        for level in range(1, LEVELS + 1):
            self.tag_config(f"list{level}", lmargin1=INDENT * level - INDENT // 2, lmargin2=INDENT * level)
        self._tables, self._level = 0, 0  # number of tables so far; depth of the lists
        self._tag, self._is_item, self._is_cell = "", False, False  # of the heading; whether an item, or a cell, begins
        self._rows: List[List[str]] = []  # of the table
        for token in card_parser().parse(text.strip()):
            getattr(self, f"_on_{token.type}", lambda _token: None)(token)
        self.config(state=tk.DISABLED)

    # ---- each of these handles the tokens of one type --------------------------------------------------------

    def _on_heading_open(self, token: Token) -> None:
        self._tag = token.tag if token.tag in SIZES else "h3"

    def _on_heading_close(self, _token: Token) -> None:
        self._tag = ""
        self.insert(tk.END, "\n")

    def _on_paragraph_close(self, _token: Token) -> None:
        self.insert(tk.END, "\n" if self._level else "\n\n")

    def _on_bullet_list_open(self, _token: Token) -> None:
        self._level += 1

    def _on_bullet_list_close(self, _token: Token) -> None:
        self._level -= 1
        self.insert(tk.END, "" if self._level else "\n")

    _on_ordered_list_open, _on_ordered_list_close = _on_bullet_list_open, _on_bullet_list_close

    def _on_list_item_open(self, _token: Token) -> None:
        self._is_item = True

    def _on_table_open(self, _token: Token) -> None:
        self._rows = []

    def _on_tr_open(self, _token: Token) -> None:
        self._rows.append([])

    def _on_td_open(self, _token: Token) -> None:
        self._is_cell = True

    def _on_td_close(self, _token: Token) -> None:
        self._is_cell = False

    _on_th_open, _on_th_close = _on_td_open, _on_td_close

    def _on_fence(self, token: Token) -> None:
        self.insert(tk.END, token.content + "\n", "code")

    _on_code_block = _on_fence

    def _on_inline(self, token: Token) -> None:
        if self._is_cell:
            self._rows[-1].append("".join(child.content for child in token.children or ()))
            return
        tags = tuple(filter(None, (self._tag, f"list{min(self._level, LEVELS)}" if self._level else "")))
        self.insert(tk.END, "•  " if self._is_item else "", tags)
        self._is_item = False
        for child in token.children or ():
            if child.type == "code_inline":
                self.insert(tk.END, child.content, (*tags, "code"))
            else:
                self.insert(tk.END, " " if child.type == "softbreak" else child.content, tags)

    def _on_table_close(self, _token: Token) -> None:
        """Insert the table; tab stops make its columns."""
        self._tables += 1
        name, stop, stops = f"table{self._tables}", 0, []
        bold = fonts.Font(root=self, font=self.tag_cget("head", "font"))
        for column in zip(*self._rows):
            stop += GAP + max(map(bold.measure, column))
            stops.append(stop)
        self.tag_config(name, tabs=tuple(stops), wrap=tk.NONE, spacing1=2)
        for number, row in enumerate(self._rows):
            self.insert(tk.END, "\t".join(row) + "\n", (name, "head") if number == 0 else name)
        self.insert(tk.END, "\n")
