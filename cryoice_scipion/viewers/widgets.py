# SPDX-License-Identifier: GPL-3.0-or-later
"""Small widgets: names that fit their place, tooltips, switches, and rows that wrap."""

from __future__ import annotations

import tkinter as tk
from tkinter import font as fonts
from typing import Any, Callable, List, Optional, Tuple

from cryoice_scipion.core.images.shortening import shortened

GAP = 6  # px between widgets of a row
TIP = "#ffffe0"
DELAY = 400  # ms until a tooltip appears


class Tooltip:
    """Shows a text beside the mouse, or below a widget, while the mouse rests on the widget."""

    def __init__(self, widget: tk.Misc, text_at: Callable[[Any], str], below: bool = False) -> None:
        """Ask ``text_at`` for the text at each event; an empty one shows nothing."""
        self._widget, self._text_at, self._text, self._below = widget, text_at, "", below
        self._window: Optional[tk.Toplevel] = None
        self._waiting: Optional[str] = None
        widget.bind("<Motion>", self._move, add="+")
        for event in ("<Leave>", "<Button>", "<Destroy>"):
            widget.bind(event, lambda _event: self._hide(), add="+")

    def _move(self, event: Any) -> None:
        text = self._text_at(event)
        if text == self._text:
            return
        self._hide()
        self._text = text
        if text:
            self._waiting = self._widget.after(DELAY, self._show, event.x_root + 12, event.y_root + 16)

    def _show(self, x: int, y: int) -> None:
        self._waiting = None
        self._window = tk.Toplevel(self._widget)
        self._window.wm_overrideredirect(True)
        label = tk.Label(self._window, text=self._text, bg=TIP, relief=tk.SOLID, borderwidth=1, padx=4, pady=2)
        label.config(wraplength=600, justify=tk.LEFT)
        label.pack()
        if self._below:
            x, y = self._widget.winfo_rootx(), self._widget.winfo_rooty() + self._widget.winfo_height()
        x = max(0, min(x, self._widget.winfo_screenwidth() - label.winfo_reqwidth()))
        self._window.wm_geometry(f"+{x}+{y}")

    def _hide(self) -> None:
        self._text = ""
        if self._waiting is not None:
            self._widget.after_cancel(self._waiting)
            self._waiting = None
        if self._window is not None:
            self._window.destroy()
            self._window = None


class NameLabel(tk.Label):
    """Label with a name that is shortened to the label's width; a tooltip shows all of it."""

    def __init__(self, master: tk.Misc, **options: Any) -> None:
        """Create an empty label."""
        super().__init__(master, anchor="w", width=1, **options)
        self.name = ""
        self.bind("<Configure>", lambda _event: self._fit())
        Tooltip(self, lambda _event: "" if self.cget("text") == self.name else self.name)

    def show(self, name: str) -> None:
        """Show another name."""
        self.name = name
        self._fit()

    def _fit(self) -> None:
        self.config(text=shortened(self.name, self.winfo_width() - 8, font_of(self).measure))


def font_of(widget: tk.Misc) -> fonts.Font:
    """Return the font of a widget, to measure texts."""
    return fonts.Font(root=widget, font=widget.cget("font"))


def bind_key(root: tk.Misc, key: str, act: Callable[[], Any]) -> None:
    """Bind a key in a window, except where a text is typed or a slider moved."""

    def pressed(event: Any) -> None:
        if not isinstance(event.widget, (tk.Entry, tk.Scale)):
            act()

    root.bind(key, pressed)


class Switch(tk.Frame):
    """Checkbox with a coloured symbol and a label; a click on any of them switches."""

    def __init__(
        self, master: tk.Misc, sign: Tuple[str, str], words: str, variable: tk.BooleanVar, command: Callable[[], Any]
    ) -> None:
        """Create a switch; ``sign`` is a symbol and its colour."""
        super().__init__(master, bg="white")
        self.box = tk.Checkbutton(self, variable=variable, command=command, bg="white")
        self.box.config(activebackground="white", highlightthickness=0)
        self.box.pack(side=tk.LEFT)
        self.words = tk.Label(self, text=words, bg="white")
        symbol = tk.Label(self, text=sign[0], fg=sign[1], bg="white", font=("TkDefaultFont", 12, "bold"))
        for label in (symbol, self.words):
            label.pack(side=tk.LEFT)
            label.bind("<Button-1>", lambda _event: self.box.invoke())


class Flow(tk.Frame):
    """Row of widgets that continues on the next line where the window is narrow."""

    def __init__(self, master: tk.Misc, **options: Any) -> None:
        """Create an empty row; its children are placed in the order in which they were created."""
        super().__init__(master, **options)
        self._waiting = False
        self.bind("<Configure>", lambda _event: self._arrange())

    def add(self, widget: Any) -> Any:
        """Place a child of this frame after the others, also when its size changes; return it."""
        widget.bind("<Configure>", lambda _event: self._soon(), add="+")
        self._soon()
        return widget

    def _soon(self) -> None:
        if not self._waiting:
            self._waiting = True
            self.after_idle(self._arrange)

    def _arrange(self) -> None:
        self._waiting = False
        lines: List[List[Any]] = [[]]
        left = 0
        for child in self.winfo_children():
            if left and left + child.winfo_reqwidth() > self.winfo_width():
                lines.append([])
                left = 0
            lines[-1].append(child)
            left += child.winfo_reqwidth() + GAP
        top = 0
        for line in lines:
            left, height = 0, max((child.winfo_reqheight() for child in line), default=1)
            for child in line:
                child.place(x=left, y=top + (height - child.winfo_reqheight()) // 2)
                left += child.winfo_reqwidth() + GAP
            top += height
        if int(self["height"]) != top:
            self.config(height=top)


class Panes(tk.PanedWindow):
    """Panels side by side. Each keeps its share of the width, which the user can change by dragging the borders."""

    def __init__(self, master: tk.Misc) -> None:
        """Create an empty row of panels."""
        super().__init__(master, borderwidth=0, sashwidth=6, opaqueresize=True)
        self._shares: List[float] = []
        self.bind("<Configure>", lambda _event: self.after_idle(self._place))
        self.bind("<ButtonRelease-1>", lambda _event: self._keep())

    def show(self, widget: tk.Misc, share: float, least: int) -> None:
        """Add a panel with a share of the width, and a least width in px."""
        self._shares.append(share)
        self.add(widget, minsize=least, padx=4)

    def _place(self) -> None:
        edge = 0.0
        for index, share in enumerate(self._shares[:-1]):
            edge += share * self.winfo_width()
            self.sash_place(index, round(edge), 1)

    def _keep(self) -> None:
        """Take the shares as they are after the user has moved a border."""
        edges = [0, *(self.sash_coord(index)[0] for index in range(len(self._shares) - 1)), self.winfo_width()]
        self._shares = [(right - left) / max(1, edges[-1]) for left, right in zip(edges, edges[1:])]
