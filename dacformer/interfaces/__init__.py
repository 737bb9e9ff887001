"""Where people meet the sound: pictures, and what moves in a notebook."""

from dacformer.data.check import check_sounds
from dacformer.interfaces.label_table import LabelTable, label_sounds
from dacformer.interfaces.live_controls import Hand, LiveControls, LiveMapping, load_mapping
from dacformer.interfaces.player import Player, play
from dacformer.interfaces.plots import plot_code_usage, plot_codes, plot_labels, plot_training
from dacformer.interfaces.runs import conditions_table, ensure_run, settings_table
from dacformer.interfaces.sound_map import SoundMap, sound_map
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
    "LabelTable",
    "LiveControls",
    "LiveMapping",
    "LivePlot",
    "LiveSamples",
    "Player",
    "Sheet",
    "SoundMap",
    "Steering",
    "check_sounds",
    "conditions_table",
    "ensure_run",
    "label_sounds",
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
    "sound_map",
    "steer",
    "sweep",
    "trajectory",
]
