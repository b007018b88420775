"""What these pages need beside MkDocs: the repository's figures, and texts without the results' marks."""

import re
from pathlib import Path

from mkdocs.structure.files import File

FIGURES = Path(__file__).parents[1] / "figures"
#: Small letters, hardly to be read in most fonts, and what is set small in their place.
SMALL = [("sub", "[₀-₉₊ₗ]+", "₀₁₂₃₄₅₆₇₈₉₊ₗ", "0123456789+l"), ("sup", "[ᶠᴮᵀ]", "ᶠᴮᵀ", "FBT")]


def on_files(files, config):
    """Give the site those figures of the repository that its pages show."""
    shown = {name for page in files.documentation_pages() for name in _figures(page.content_string)}
    for name in sorted(shown):
        assert (FIGURES / name).is_file(), f"The pages show {name}, which is not in {FIGURES}."
        files.append(File.generated(config, f"figures/{name}", abs_src_path=str(FIGURES / name)))
    return files


def on_page_markdown(markdown, page, **_):
    """Leave out the marks around results, and name what lies outside of the site rather than link to it."""
    text = re.sub(r"<!--.*?-->", "", markdown, flags=re.DOTALL)
    text = text.replace("](../figures/", "](figures/")
    for tag, small, signs, letters in SMALL:
        plain = str.maketrans(signs, letters)
        text = re.sub(small, lambda m, t=tag, p=plain: f"<{t}>{m[0].translate(p)}</{t}>", text)
    return re.sub(r"(?<!!)\[([^\]]*)\]\(\.\./(?!figures)[^)]*\)", r"\1", text)


def _figures(text):
    return re.findall(r"\]\(\.\./figures/([\w.-]+)\)", text)
