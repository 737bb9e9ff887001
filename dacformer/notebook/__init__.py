"""Pictures, sounds and widgets for notebooks, and the player."""

from dacformer.extras import require_extra

with require_extra("notebook"):
    from dacformer.data.check import check_sounds
    from dacformer.live.midi_osc import LiveControls, LiveMapping, ManualControls, load_mapping
    from dacformer.notebook.audio_grid import AudioGrid
    from dacformer.notebook.label_table import LabelTable, label_sounds
    from dacformer.notebook.listening import morph, one_take_per_class, reference_clips, sweep, sweep_curve
    from dacformer.notebook.panel import ControlPanel, control_panel
    from dacformer.notebook.player import PlayerWidget, play
    from dacformer.notebook.plots import plot_code_usage, plot_codes, plot_labels, plot_training
    from dacformer.notebook.runs import conditions_table, ensure_run, settings_table
    from dacformer.notebook.sound_map import SoundMap, sound_map
    from dacformer.notebook.training_views import LivePlot, LiveSamples

__all__ = [
    "AudioGrid",
    "ControlPanel",
    "LabelTable",
    "LiveControls",
    "LiveMapping",
    "LivePlot",
    "LiveSamples",
    "ManualControls",
    "PlayerWidget",
    "SoundMap",
    "check_sounds",
    "conditions_table",
    "control_panel",
    "ensure_run",
    "label_sounds",
    "load_mapping",
    "morph",
    "one_take_per_class",
    "play",
    "plot_code_usage",
    "plot_codes",
    "plot_labels",
    "plot_training",
    "reference_clips",
    "settings_table",
    "sound_map",
    "sweep",
    "sweep_curve",
]
