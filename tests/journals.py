# SPDX-License-Identifier: GPL-3.0-or-later
"""Edit the journal of a run."""

import re


def unsealed(text):
    """Return the text of a journal as earlier versions wrote it, so that it may be changed."""
    return re.sub(r',"run":"[0-9a-f]*","line":\d+,"crc":"[0-9a-f]{8}"}', "}", text)
