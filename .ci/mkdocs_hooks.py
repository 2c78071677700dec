"""For the site: links to files outside docs/, which read well on a code host, become plain text.

`extra.source_url` in mkdocs.yml, where it is set, is the address of the repository's files, and links go there.
"""

import re
from typing import Any

# weasel links to project.yml as if its page lay beside it.
_OUTSIDE = re.compile(r"\[([^\]]+)\]\((?:\.\./([^)\s]+)|(project\.yml))\)")


def on_page_markdown(markdown: str, config: Any, **_: Any) -> str:
    """Called by MkDocs for each page."""
    url = (config.get("extra") or {}).get("source_url")
    return _OUTSIDE.sub(lambda link: f"[{link[1]}]({url}/{link[2] or link[3]})" if url else link[1], markdown)
