"""Links of docs/ to files outside the site, as the files' paths."""

import re
from pathlib import Path, PurePosixPath
from typing import Any

from mkdocs.structure.files import Files

ROOT = Path(__file__).resolve().parents[2]
_LINK = re.compile(r"\[([^\]]*)\]\(((?!https?:|mailto:|#)[^)#]+)(#[^)]*)?\)")


def on_page_markdown(markdown: str, page: Any, config: Any, files: Files) -> str:
    """Write a link to a file outside the site as the file's path: a reader has the repository."""
    del config
    folder = PurePosixPath(page.file.src_uri).parent

    def kept(match: re.Match[str]) -> str:
        words, target, _ = match.groups()
        if files.get_file_from_path(_joined(folder, target)) is not None:
            return match[0]
        path = _joined(PurePosixPath("docs") / folder, target)
        if not (ROOT / path).exists():
            raise ValueError(f"{page.file.src_uri} links to {target}, which is not there")
        return words if words.strip("`") == path else f"{words} (`{path}`)"

    return _LINK.sub(kept, markdown)


def _joined(folder: PurePosixPath, target: str) -> str:
    parts: list[str] = []
    for part in (*folder.parts, *PurePosixPath(target).parts):
        if part == ".." and parts:
            parts.pop()
        elif part != ".":
            parts.append(part)
    return "/".join(parts)
