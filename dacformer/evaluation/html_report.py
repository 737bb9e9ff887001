"""HTML report of a run: one page that contains all pictures and sounds, without other files."""

import base64
import json
from collections.abc import Mapping
from pathlib import Path

import jinja2
import pandas as pd

from dacformer.evaluation.tables import with_mean
from dacformer.files import write_text

_PAGE = jinja2.Environment(autoescape=True, trim_blocks=True, lstrip_blocks=True).from_string(
    """<!doctype html>
<html lang="en"><head><meta charset="utf-8"><title>{{ title }}</title><style>
body { font: 15px/1.5 system-ui, sans-serif; max-width: 75rem; margin: 2rem auto; padding: 0 1rem; color: #222 }
table { border-collapse: collapse; margin: 1rem 0 } td, th { padding: .2rem .8rem; text-align: right }
tr:nth-child(even) { background: #f4f4f4 } tr:last-child td, tr:last-child th { border-top: 1px solid #222 }
img { max-width: 100% } figure { display: inline-block; margin: .5rem } figcaption { font-size: 85% }
</style></head><body><h1>{{ title }}</h1>
{% for section in sections %}
<h2>{{ section.title }}</h2><p>{{ section.about }}</p>
{{ section.table | safe }}
{% if section.picture %}<img alt="{{ section.title }}" src="data:image/png;base64,{{ section.picture }}">{% endif %}
{% endfor %}
{% if sounds %}<h2>Sounds</h2>{% endif %}
{% for name, sound in sounds.items() %}
<figure><audio controls src="data:audio/wav;base64,{{ sound }}"></audio><figcaption>{{ name }}</figcaption></figure>
{% endfor %}
</body></html>
"""
)


def write_page(folder: Path, title: str, sections: Mapping[str, tuple[str, str]]) -> list[Path]:
    """Collects the results in a folder into `report.html` and `report.json`. Missing sections are left out.

    Args:
        folder: Folder into which `evaluate` has written results.
        title: Title of the page.
        sections: For each section (files `<name>.json` and `<name>.png`) its heading and how to read it.

    Returns:
        The two paths.
    """
    found, result = [], {}
    for name, (heading, about) in sections.items():
        summary, picture = folder / f"{name}.json", folder / f"{name}.png"
        if not picture.is_file():
            continue
        table = ""
        if summary.is_file():
            result[name] = json.loads(summary.read_text(encoding="utf-8"))
            table = with_mean(pd.DataFrame.from_dict(result[name], orient="index")).round(3).to_html(border=0)
        found.append({"title": heading, "about": about, "table": table, "picture": _base64(picture)})
    sounds = {path.stem.replace("_", " "): _base64(path) for path in sorted(folder.glob("*.wav"))}
    page, whole = folder / "report.html", folder / "report.json"
    write_text(page, _PAGE.render(title=title, sections=found, sounds=sounds))
    write_text(whole, json.dumps(result, indent=2))
    return [page, whole]


def _base64(path: Path) -> str:
    return base64.b64encode(path.read_bytes()).decode()
