# SPDX-License-Identifier: GPL-3.0-or-later
"""Write the pages of the site as plain Markdown, with the parts that are generated from the code.

``PYTHONPATH=docs python -m site_builder build/docs`` does it; ``make docs`` then runs MkDocs on the result.
"""
