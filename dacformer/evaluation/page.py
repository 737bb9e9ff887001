"""One page for all that was measured of a run: it holds its pictures and sounds itself, and can be sent to anybody."""

import base64
import json
from pathlib import Path

import jinja2
import pandas as pd

from dacformer.evaluation.control import with_mean
from dacformer.files import write_text

SECTIONS = {
    "control": (
        "Control and class",
        "Each parameter asked for at several values, in free running: Spearman correlation with the descriptor that is "
        "measured, and the share of clips whose class a classifier hears; _real is real textures through the codec.",
    ),
    "moving": (
        "Ramps and steps",
        "Spearman correlation on slow ramps, and seconds until 80 % of a step has arrived; _real is two real textures, "
        "one after the other.",
    ),
    "likeness": (
        "Likeness and novelty",
        "Texture statistics and Fréchet distance of the codec's latents, generated against held-out clips; _floor is "
        "held-out against held-out. novelty: distance to the nearest training excerpt, over that of held-out ones.",
    ),
    "stability": (
        "Stability",
        "Ten minutes, everything held still. drift: of the descriptor, over the whole take by a straight line, in "
        "standard deviations of real clips, with its 95 % interval; class_first and _last: probability of the class in "
        "the first and last fifth; longest silence and longest exact repetition of codes; _real is real clips.",
    ),
    "side_by_side": ("Side by side", "A held-out clip of each class, through the codec, and two takes."),
}
"""What `evaluate` leaves in a folder, `<name>.json` and `<name>.png`: a title, and how to read it."""

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


def write_page(folder: Path, title: str) -> list[Path]:
    """Gathers what lies in a folder into `report.html` and `report.json`; measured piece by piece, or all at once.

    Args:
        folder: That reports of `evaluate` were written into.
        title: Of the page.

    Returns:
        The two paths.
    """
    sections, figures = [], {}
    for name, (heading, about) in SECTIONS.items():
        summary, picture = folder / f"{name}.json", folder / f"{name}.png"
        if not picture.is_file():
            continue
        table = ""
        if summary.is_file():
            figures[name] = json.loads(summary.read_text(encoding="utf-8"))
            table = with_mean(pd.DataFrame.from_dict(figures[name], orient="index")).round(3).to_html(border=0)
        sections.append({"title": heading, "about": about, "table": table, "picture": _base64(picture)})
    sounds = {path.stem.replace("_", " "): _base64(path) for path in sorted(folder.glob("*.wav"))}
    page, whole = folder / "report.html", folder / "report.json"
    write_text(page, _PAGE.render(title=title, sections=sections, sounds=sounds))
    write_text(whole, json.dumps(figures, indent=2))
    return [page, whole]


def _base64(path: Path) -> str:
    return base64.b64encode(path.read_bytes()).decode()
