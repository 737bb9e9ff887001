"""Settings of a codec's training: what `params/codec_small.yaml` holds."""

from pathlib import Path
from typing import Annotated

from pydantic import Field, field_validator

from dacformer.codec.weight_files import CodecConfig
from dacformer.config import NonNegative, Positive, PositiveInt, Seed, Settings, Share, UserPath


class SoundSource(Settings):
    """A folder of recordings to train a codec on."""

    folder: UserPath
    """Searched for sound files, nested folders included."""
    weight: Positive = 1.0
    """How often its sounds are drawn, relative to the other sources."""
    held_out: Share = 0.0
    """Share of its recordings that are never trained on, but measured."""
    exclude: tuple[str, ...] = ()
    """Sounds whose path contains one of these are left out altogether."""


class CodecTrainingConfig(Settings):
    """What `python -m dacformer.codec.train` reads. Loss weights are those of Kumar et al., arXiv:2306.06546."""

    run: UserPath = Path("runs/codec_small")
    """The run's folder: configuration, TensorBoard events, training state, weights."""
    name: str = "small"
    """Name of the weight file, `<name>.safetensors` in the run's folder."""
    codec: CodecConfig = CodecConfig()
    """Sizes of the codec."""
    sounds: tuple[SoundSource, ...] = ()
    """Folders of recordings to train on."""
    texture_weight: NonNegative = 1.0
    """How often a procedural texture is drawn, relative to the folders; 0 uses none."""
    textures_per_class: PositiveInt = 24
    """Number of procedural textures of each class, their parameter spread from 0 to 1."""
    speeds: tuple[Positive, ...] = (1.0,)
    """Each recording is also used at these speeds (pitch and tempo together)."""
    mix: Share = 0.25
    """Share of items that are two recordings at once."""
    gain_db: tuple[float, float] = (-18.0, 6.0)
    """Range in dB of the random gain around a level of RMS 0.1."""
    crop_samples: PositiveInt = 32768
    """Length of a training item, in samples."""
    batch_size: PositiveInt = 24
    """Items per step."""
    steps: PositiveInt = 20000
    """Length of the training, in steps."""
    adversarial_from_step: Annotated[int, Field(ge=0)] = 8000
    """Last step without discriminators: spectral and quantiser losses only. From `steps` on, none are trained."""
    discriminator_width: Annotated[float, Field(ge=0.05, le=1.0)] = 1.0
    """Channels of the discriminators, as a share of the paper's."""
    learning_rate: Positive = 3e-4
    """Peak rate of the codec (AdamW)."""
    final_learning_rate: Positive = 3e-5
    """Rate at the last step, to which half a cosine leads."""
    discriminator_learning_rate: Positive = 2e-4
    """Peak rate of the discriminators; it follows the same warm-up and cosine."""
    warmup_steps: Annotated[int, Field(ge=0)] = 200
    """Steps of linear warm-up of the learning rates."""
    mel_weight: NonNegative = 15.0
    """Weight of the multi-scale mel distance."""
    waveform_weight: NonNegative = 0.0
    """Weight of the mean absolute difference of the samples: what a short training learns pitch from."""
    feature_weight: NonNegative = 2.0
    """Weight of feature matching, the distance between the discriminators' inner activations."""
    adversarial_weight: NonNegative = 1.0
    """Weight of the adversarial loss."""
    commitment_weight: NonNegative = 0.25
    """Weight of the commitment loss, which keeps latents near their codebook entries."""
    ema_decay: Annotated[float, Field(ge=0.0, lt=1.0)] = 0.999
    """Decay per step of the averaged weights, which are measured and written; 0 turns averaging off."""
    codebook_decay: Annotated[float, Field(ge=0.0, lt=1.0)] = 0.99
    """Decay per step of the averages that codebook entries are."""
    restart_below: NonNegative = 0.05
    """An entry used less than this share of an even use is moved onto a latent of the batch."""
    validate_every: PositiveInt = 1000
    """Steps between measurements on the recordings held out."""
    save_every: PositiveInt = 1000
    """Steps between saved states, from which `--resume` goes on."""
    compile: bool = False
    """`torch.compile` for the codec's activation: half a minute at the start, 1.4 times faster from then on."""
    seed: Seed = 0
    """Seed of everything random: weights, split, crops, augmentation, quantiser dropout."""

    @field_validator("gain_db")
    @classmethod
    def _gain_is_a_range(cls, value: tuple[float, float]) -> tuple[float, float]:
        if value[0] > value[1]:
            raise ValueError(f"expected [lowest, highest], got {list(value)}")
        return value
