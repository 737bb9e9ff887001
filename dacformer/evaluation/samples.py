"""Samples during a training: one take per class, as sound files and one picture."""

from pathlib import Path

from dacformer.checkpoint import Checkpoint
from dacformer.codec import Codec, load_codec
from dacformer.display.audio_plots import plot_sounds
from dacformer.files import safe_names
from dacformer.generation.synthesizer import Synthesizer
from dacformer.generation.take import Take


class SampleWriter:
    """Writes samples. Pass it to `train` as `on_sample`.

    Attributes:
        latest: The latest takes, by class.
    """

    def __init__(self, codec: Codec | None = None, max_classes: int = 8) -> None:
        """Sets up the writer.

        Args:
            codec: The codec; if None, loaded at the first call by the name in the checkpoint.
            max_classes: Most classes; the first ones are used.
        """
        self._codec = codec
        self._max_classes = max_classes
        self.latest: dict[str, Take] = {}

    def __call__(self, checkpoint: Checkpoint, run: Path) -> None:
        """Writes `samples/step_*/<class>.wav` (see `safe_names`), a picture of all, and TensorBoard's audio."""
        from torch.utils.tensorboard import SummaryWriter

        metadata = checkpoint.metadata
        if self._codec is None:
            self._codec = load_codec(metadata.info.codec_name, metadata.info.num_codebooks)
        device = next(checkpoint.model.parameters()).device
        synth = Synthesizer(checkpoint, self._codec, device)
        classes = metadata.conditions.classes[: self._max_classes]
        takes = synth.generate_batch(
            metadata.config.training.sample_seconds, [{"class": name} for name in classes], seed=metadata.step
        )
        self.latest = dict(zip(classes, takes, strict=True))
        folder = run / "samples" / f"step_{metadata.step:07d}"
        files = safe_names(metadata.conditions.classes)
        with SummaryWriter(str(run)) as board:
            for name, take in self.latest.items():
                take.save(folder / f"{files[name]}.wav")
                board.add_audio(f"sample/{name}", take.audio[None], metadata.step, take.sample_rate)
        figure = plot_sounds({name: take.audio for name, take in self.latest.items()}, metadata.info.sample_rate)
        figure.savefig(folder / "spectrograms.png", dpi=80)
