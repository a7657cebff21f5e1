"""Links from pages to files and folders of the repository lead to a page of the site that shows them."""

from __future__ import annotations

import html
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from docutils import nodes
from sphinx import addnodes
from sphinx.application import Sphinx
from sphinx.environment import BuildEnvironment
from sphinx.transforms import SphinxTransform

ROOT = Path(__file__).resolve().parents[2]
PREFIX = "files/"
DOCUMENTS = {"README.md": "index", "CONTRIBUTING.md": "contributing", "CHANGELOG.md": "changelog"}
"""Files beside `docs` that have a page of their own."""

LANGUAGES = {".py": "python", ".toml": "toml", ".sh": "bash"}


class LinksToFiles(SphinxTransform):
    """Turns each link to a file outside the pages into a reference to the page that shows the file."""

    default_priority = 300

    def apply(self, **kwargs: Any) -> None:
        """Replace the links of one document."""
        for node in list(self.document.findall(is_link)):
            target, _, anchor = node["reftarget"].partition("#")
            path = (Path(node.source or self.document["source"]).parent / target).resolve()
            page = self.env.path2doc(path)
            if page in self.env.found_docs:  # also from a file that a page includes, such as the list of changes
                node.attributes |= {"refdomain": "doc", "reftarget": page, "reftargetid": anchor or None}
            elif target and path.exists() and path.is_relative_to(ROOT):
                node.replace_self(reference_to(path, self.env.docname, node))


def is_link(node: nodes.Node) -> bool:
    """Whether a node stands for a link to a path, which is not resolved yet."""
    return isinstance(node, nodes.Element) and node.get("reftype") == "myst" and node.get("refdomain") != "doc"


def reference_to(path: Path, page: str, link: nodes.Element) -> addnodes.pending_xref:
    """A reference to the page of a file or folder, with the text of `link`."""
    name = path.relative_to(ROOT).as_posix()
    return addnodes.pending_xref(
        "", *link.children, refdomain="", reftype="repository_file", reftarget=name, refexplicit=True, refdoc=page
    )


def resolve(app: Sphinx, env: BuildEnvironment, node: addnodes.pending_xref, inner: nodes.Node) -> nodes.Node | None:
    """A reference to the page of a file; the file is noted, so that its page is written."""
    if node["reftype"] != "repository_file":
        return None
    page = DOCUMENTS.get(node["reftarget"]) or PREFIX + node["reftarget"]
    noted(env).add(node["reftarget"])
    return nodes.reference("", "", inner, internal=True, refuri=app.builder.get_relative_uri(node["refdoc"], page))


def noted(env: BuildEnvironment) -> set[str]:
    """The files and folders that some page links to."""
    if not hasattr(env, "repository_files"):
        env.repository_files = set()  # type: ignore[attr-defined]
    return env.repository_files  # type: ignore[attr-defined, no-any-return]


def pages(app: Sphinx) -> Iterator[tuple[str, dict[str, Any], str]]:
    """A page for each file that is linked to, and for each file of a folder that is."""
    named = {name for name in noted(app.env) if name not in DOCUMENTS}
    inside = {str(path.relative_to(ROOT)) for name in named for path in shown_files(ROOT / name)}
    for name in sorted(named | inside):
        body = folder_list(name, app) if (ROOT / name).is_dir() else source_text(name, app)
        title = html.escape(name)
        yield PREFIX + name, {"title": title, "body": f"<h1>{title}</h1>\n{body}"}, "page.html"


def shown_files(folder: Path) -> list[Path]:
    """The files of a folder that have a page; none if it is a file."""
    return sorted(path for path in folder.glob("*") if path.suffix in LANGUAGES) if folder.is_dir() else []


def folder_list(name: str, app: Sphinx) -> str:
    """The files of a folder as a list of links."""
    link = app.builder.get_relative_uri
    rows = [(path.name, link(PREFIX + name, PREFIX + f"{name}/{path.name}")) for path in shown_files(ROOT / name)]
    return "<ul>" + "".join(f'<li><a href="{uri}"><code>{own}</code></a></li>' for own, uri in rows) + "</ul>"


def source_text(name: str, app: Sphinx) -> str:
    """The text of a file, as HTML."""
    text = (ROOT / name).read_text(encoding="utf-8")
    return str(app.builder.highlighter.highlight_block(text, LANGUAGES.get(Path(name).suffix, "text")))  # type: ignore[attr-defined]


def setup(app: Sphinx) -> dict[str, bool]:
    """Register links to files with Sphinx."""
    app.add_transform(LinksToFiles)
    app.connect("missing-reference", resolve)
    app.connect("html-collect-pages", pages)
    return {"parallel_read_safe": True, "parallel_write_safe": False}
