"""What the site has beyond the pages of docs/: pages from elsewhere, the API reference, lists of files, links.

A hook of MkDocs. The Markdown stays as the code host shows it; links are turned here, when the site is built.
"""

from __future__ import annotations

import ast
import logging
import posixpath
import re
from collections.abc import Collection
from pathlib import Path
from typing import Any

from mkdocs.structure.files import File, InclusionLevel

ROOT = Path(__file__).parents[2]
PACKAGE = ROOT / "mia_jax"
ELSEWHERE = {
    "README.md": "index.md",
    "CONTRIBUTING.md": "contributing.md",
    "benchmarks/README.md": "benchmarks.md",
}
"""Pages of the site that do not lie in docs/, with the names they have there."""

ORIGINS = {page: origin for origin, page in ELSEWHERE.items()}
REFERENCE = "reference/"
LINK = re.compile(r"`[^`]*`|(!?)\[((?:`[^`]*`|[^\]`])*)\]\(([^()\s]+)\)")
FENCED = re.compile(r"(^ *```.*?^ *```$)", re.DOTALL | re.MULTILINE)

log = logging.getLogger("mkdocs.hooks.pages")


def on_config(config: Any) -> Any:
    """Put the pages that are there in the place of the navigation's patterns."""
    named = set(_pages(config.nav))
    docs = Path(config.docs_dir)
    config.nav = _filled(config.nav, docs, named)
    return config


def on_files(files: Any, config: Any) -> Any:
    """Add the pages from elsewhere, of the reference, and for every folder without a page of its own."""
    for origin, page in ELSEWHERE.items():
        files.append(File.generated(config, page, content=(ROOT / origin).read_text(encoding="utf-8")))
    modules = [page for page in _pages(config.nav) if page.startswith(REFERENCE)]
    for page in modules:
        files.append(File.generated(config, page, content=_reference(page, modules)))
    for folder, content in _folders(Path(config.docs_dir)).items():
        page = f"{folder}/index.md"
        files.append(File.generated(config, page, content=content, inclusion=InclusionLevel.NOT_IN_NAV))
    return files


def on_page_markdown(markdown: str, page: Any, config: Any, files: Any) -> str:
    """Turn the links of a page to where their targets are on the site."""
    here = page.file.src_uri
    origin = ORIGINS.get(here, f"docs/{here}")
    parts = FENCED.split(markdown)
    pages = files.src_uris

    def turned(found: re.Match[str]) -> str:
        return _link(found, origin, here, pages, config)

    parts[::2] = [LINK.sub(turned, part) for part in parts[::2]]
    return "".join(parts)


def public_names(module: str) -> dict[str, str]:
    """The public names of a module or package of mia_jax, and the path of each for mkdocstrings.

    Public is what is re-exported by `X as X`; where nothing is, what is defined without an underscore.
    """
    folder = PACKAGE / module.replace(".", "/")
    own = f"mia_jax.{module}"
    tree = ast.parse(_source(module))
    exported = {
        # A submodule of the same name would hide the object.
        alias.name: f"{node.module if (folder / f'{alias.name}.py').exists() else own}.{alias.name}"
        for node in tree.body
        if isinstance(node, ast.ImportFrom)
        for alias in node.names
        if alias.asname == alias.name
    }
    defined = (name for node in tree.body for name in _defined(node) if not name.startswith("_"))
    return exported or {name: f"{own}.{name}" for name in defined}


def _source(module: str) -> str:
    """The text of a module or of a package's __init__."""
    path = PACKAGE / module.replace(".", "/")
    package = path / "__init__.py"
    return (package if package.exists() else path.with_suffix(".py")).read_text(encoding="utf-8")


def _defined(node: ast.stmt) -> list[str]:
    """The function, class or documented constant that a statement of a module makes."""
    if isinstance(node, ast.FunctionDef | ast.ClassDef):
        return [node.name]
    if isinstance(node, ast.Assign) and isinstance(node.targets[0], ast.Name):
        return [node.targets[0].id]
    return []


def _pages(nav: Any) -> list[str]:
    """The pages that a navigation names, without patterns, in its order."""
    if isinstance(nav, str):
        return [] if "*" in nav else [nav]
    entries = nav.values() if isinstance(nav, dict) else nav
    return [page for entry in entries for page in _pages(entry)]


def _filled(nav: list[Any], docs: Path, named: set[str]) -> list[Any]:
    """A navigation with the pages of its patterns, each in the first place that has it; empty groups go."""
    filled: list[Any] = []
    for entry in nav:
        if isinstance(entry, str) and "*" in entry:
            found = (path.relative_to(docs).as_posix() for path in sorted(docs.glob(entry)))
            new = [page for page in found if page not in named and not page.startswith("_")]
            named.update(new)
            filled += new
        elif isinstance(entry, dict) and isinstance(group := next(iter(entry.values())), list):
            pages = _filled(group, docs, named)
            filled += [{next(iter(entry)): pages}] if pages else []
        else:
            filled.append(entry)
    return filled


def _reference(page: str, modules: list[str]) -> str:
    """A page of the reference: one module, or the list of all."""
    name = page.removeprefix(REFERENCE).removesuffix(".md")
    if name != "index":
        members = "\n\n".join(f"::: {path}" for path in public_names(name).values())
        options = "    options: {members: false, show_root_heading: false, show_root_toc_entry: false}"
        return f"# mia_jax.{name}\n\n::: mia_jax.{name}\n{options}\n\n{members}\n"
    others = [other.removeprefix(REFERENCE) for other in modules if other != page]
    lines = [f"- [`mia_jax.{other[:-3]}`]({other}): {_sentence(other[:-3])}" for other in others]
    head = "What can be imported and is meant to stay, from the docstrings. Axes (K, T, N, …) are those of "
    return f"# API reference\n\n{head}[`mia_jax.types`](types.md).\n\n" + "\n".join(lines) + "\n"


def _sentence(module: str) -> str:
    """The first paragraph of a module's docstring."""
    return " ".join((ast.get_docstring(ast.parse(_source(module))) or "").split("\n\n")[0].split())


def _folders(docs: Path) -> dict[str, str]:
    """For every folder of results in docs/ the list of its files, as Markdown."""
    lists = {}
    for folder in sorted(path for path in docs.iterdir() if path.is_dir() and not path.name.startswith("_")):
        held = sorted(path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file())
        if held and not any(name.endswith(".md") for name in held):
            lines = "\n".join(f"- [{name}]({name})" for name in held)
            lists[folder.name] = f"# Files of {folder.name}\n\n{lines}\n"
    return lists


def _link(found: re.Match[str], origin: str, here: str, pages: Collection[str], config: Any) -> str:
    """One link, or one piece of code, as the site has it. origin: the page's file; here: its place on the site.

    pages: all files of the site.
    """
    image, text, address = found.groups()
    if address is None or re.match(r"[a-z]+:|#|/", address) or origin.startswith("docs/reference/"):
        return found.group()
    path, mark, fragment = address.partition("#")
    target = posixpath.normpath(posixpath.join(posixpath.dirname(origin), path))
    on_site = _on_site(target, pages)
    if on_site is not None:
        return (
            f"{image}[{text}]({posixpath.relpath(on_site, posixpath.dirname(here) or '.')}{mark}{fragment})"
        )
    if image or not (ROOT / target).exists():
        log.warning("%s links to %s, which the site cannot show.", origin, address)
    if config.repo_url:
        return f"[{text}]({config.repo_url.rstrip('/')}/blob/HEAD/{target}{mark}{fragment})"
    return text


def _on_site(target: str, pages: Collection[str]) -> str | None:
    """The place on the site of a file, folder or module of the repository; None where it has none."""
    if target in ELSEWHERE:
        return ELSEWHERE[target]
    if module := re.fullmatch(r"mia_jax/(\w+?)(?:/__init__)?(?:\.py)?", target):
        page = f"{REFERENCE}{module[1]}.md"
        return page if page in pages else None
    if not target.startswith("docs/"):
        return None
    inside = target.removeprefix("docs/")
    if not (ROOT / target).is_dir():
        return inside
    return next(page for page in (f"{inside}/README.md", f"{inside}/index.md") if page in pages)
