"""Where people meet the sound: pictures, and what moves in a notebook."""

from dacformer.interfaces.live_controls import Hand, LiveControls, LiveMapping, load_mapping
from dacformer.interfaces.player import Player, play
from dacformer.interfaces.plots import plot_code_usage, plot_codes, plot_labels, plot_training
from dacformer.interfaces.runs import conditions_table, ensure_run, settings_table
from dacformer.interfaces.widgets import (
    LivePlot,
    LiveSamples,
    Sheet,
    Steering,
    look_at,
    morph,
    one_of_each,
    steer,
    sweep,
    trajectory,
)

__all__ = [
    "Hand",
    "LiveControls",
    "LiveMapping",
    "LivePlot",
    "LiveSamples",
    "Player",
    "Sheet",
    "Steering",
    "conditions_table",
    "ensure_run",
    "load_mapping",
    "look_at",
    "morph",
    "one_of_each",
    "play",
    "plot_code_usage",
    "plot_codes",
    "plot_labels",
    "plot_training",
    "settings_table",
    "steer",
    "sweep",
    "trajectory",
]
