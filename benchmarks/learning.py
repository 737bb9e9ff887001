"""A training step, and the loader that feeds it."""

import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from unittest.mock import patch

import numpy as np
import pandas as pd
import psutil
import torch

from benchmarks.measure import C, K, Row, V, W, interleave, matrix_peak, peak_memory, row
from dacformer.codec import DacFile, write_dac
from dacformer.config import ModelConfig, TrainingConfig, save_config
from dacformer.data import Excerpts, load_dataset
from dacformer.data.dataset import FACTS_FILE, MANIFEST_FILE, Facts
from dacformer.memory import keep_freed_memory
from dacformer.model import DACFormer, transformer
from dacformer.model.heads import nll_per_code
from dacformer.training.loop import choose_precision, make_optimizers

BATCH, FRAMES = 8, 430
SIZES = {"dim": 512, "num_layers": 6}


def train_against_eager() -> Row:
    """A step as `train` takes it against the same model in float32 with a dense mask and eager attention."""
    hows = ("auto", False), ("float32", True)
    ours, baseline = interleave(*(training_step(*how) for how in hows), 20.0)
    a, b = (BATCH * FRAMES / statistics.median(times) for times in (ours, baseline))
    bare = [statistics.median(times) for times in interleave(*(training_step(*how, False) for how in hows), 20.0)]
    memory = [peak_memory(_some_steps, *how) for how in hows]
    share = 6 * multiplied_weights(make_training_model()) * a / matrix_peak(torch.bfloat16)
    peaks = matrix_peak(torch.bfloat16) / matrix_peak(torch.float32)
    note = (
        f"without the optimizer, which both have, {bare[1] / bare[0]:.2f}; bfloat16's matrix peak is {peaks:.2f} times "
        f"float32's; memory {memory[0]:.0f} against {memory[1]:.0f} MB (asked: no more)"
    )
    name = f"train D={SIZES['dim']} L={SIZES['num_layers']}, {BATCH} x {FRAMES}, against float32, dense, eager"
    return row(name, a, b, a / b, 3.5, "frames/s", note) | {"limit_share": round(share, 3)}


def training_step(
    precision: str, dense: bool, optimize: bool = True, device: str = "cpu", batch_size: int = BATCH
) -> Callable[[], None]:
    """Makes a call that takes one step, or only finds its gradients."""
    keep_freed_memory()
    model = make_training_model().to(device)
    optimizers = make_optimizers(model, TrainingConfig())
    autocast = choose_precision(precision, torch.device(device))
    codes = torch.randint(V, (batch_size, K, FRAMES), device=device)
    condition = torch.zeros(batch_size, 1, C, device=device)
    attention = _dense_attention if dense else transformer.local_attention

    def step() -> None:
        with patch.object(transformer, "local_attention", attention):
            with autocast():
                logits = model(codes, condition)
            loss = nll_per_code(logits, codes).mean()
            loss.backward()
        for optimizer in optimizers if optimize else ():
            optimizer.step()
        model.zero_grad()
        loss.item()  # waits until it is done

    return step


def _some_steps(precision: str, dense: bool) -> Callable[[], object]:
    step = training_step(precision, dense)
    return lambda: [step(), step()]


def multiplied_weights(model: DACFormer) -> int:
    """Weights that every frame is multiplied by: all matrices but the tables of codes."""
    tables = 2 * K - 1  # what is heard, and what the head knows of a frame before its last codebook
    return sum(p.numel() for p in model.parameters() if p.dim() == 2) - tables * V * SIZES["dim"]


def make_training_model() -> DACFormer:
    """A model with fresh weights."""
    torch.manual_seed(0)
    return DACFormer(ModelConfig(**SIZES, window_frames=W), K, V, C)


def _dense_attention(query: torch.Tensor, key: torch.Tensor, value: torch.Tensor, *_: object) -> torch.Tensor:
    positions = torch.arange(query.shape[-2])
    scores = query @ key.transpose(-1, -2) / query.shape[-1] ** 0.5
    scores = scores.masked_fill(~transformer.band(positions, positions, W), float("-inf"))
    return scores.softmax(-1) @ value


def loading_against_training(num_files: int) -> Row:
    """Drawing a batch against the step that it is for; the files are a thousand, named as often as need be."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder)
        _write_dataset(path, num_files)
        held, start = psutil.Process().memory_info().rss, time.perf_counter()
        excerpts = Excerpts(load_dataset(path), FRAMES, TrainingConfig(), 1_000_000)
        opening, grown = time.perf_counter() - start, (psutil.Process().memory_info().rss - held) / 1e6
        drawn = iter(range(1_000_000))
        load, step = interleave(lambda: [excerpts[next(drawn)] for _ in range(BATCH)], training_step("auto", False))
    a, b = statistics.median(load) * 1e3, statistics.median(step) * 1e3
    note = f"opened in {opening:.1f} s, {grown:.0f} MB"
    return row(f"a batch out of {num_files:,} files against the step it is for", a, b, b / a, 10, "ms", note)


def _write_dataset(path: Path, num_files: int) -> None:
    facts = {"codec": "bench", "codec_name": "bench", "sample_rate": 44_100, "hop_length": 512}
    save_config(Facts(**facts, num_codebooks=K, codebook_size=V), path / FACTS_FILE)
    rng = np.random.default_rng(0)
    for i in range(1000):
        codes = rng.integers(0, V, (1, K, 500))
        write_dac(path / f"{i}.dac", DacFile(codes, 44_100, 500 * 512, -16.0, 500, codec="bench"))
    numbers = np.arange(num_files)
    table = {
        "file": [f"{i}.dac" for i in numbers % 1000],
        "class": [f"class {i}" for i in numbers % 8],
        "split": "train",
        "frames": 500,
        "strength": rng.random(num_files).round(4),
    }
    pd.DataFrame(table).to_csv(path / MANIFEST_FILE, index=False)
