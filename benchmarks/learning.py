"""A training step, and the loader that feeds it."""

import os
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any
from unittest.mock import patch

import numpy as np
import pandas as pd
import psutil
import torch
from torch.utils.flop_counter import FlopCounterMode

from benchmarks.limits import Limits
from benchmarks.measure import C, K, Row, V, W, interleave, peak_memory
from dacformer.codec import DacFile, write_dac
from dacformer.config import ModelConfig, TrainingConfig, save_config
from dacformer.data.batches import TrainingCrops
from dacformer.data.dataset import INFO_FILE, MANIFEST_FILE, DatasetInfo, load_dataset
from dacformer.memory import keep_freed_memory
from dacformer.model import DACFormer, transformer
from dacformer.model.heads import nll_per_code
from dacformer.training.losses import choose_precision
from dacformer.training.muon import Muon
from dacformer.training.optimizers import make_optimizers

BATCH, FRAMES = 8, 430
SIZES: dict[str, Any] = {"dim": 512, "num_layers": 6}


OURS, BASELINE = ("auto", False), ("float32", True)
"""Precision, and whether attention is dense and eager."""


def train_against_eager(asked: float, share: float, limits: Limits) -> Row:
    """A step as `train` takes it against the same model in float32 with a dense mask and eager attention.

    The limit is the matrix peak in the fastest arithmetic that is native over the multiplications and additions of
    our step, the optimizer's among them.
    """
    step = training_step(*OURS)
    with FlopCounterMode(display=False) as counter:
        step()
    times = interleave(step, training_step(*OURS, optimize=False), training_step(*BASELINE), seconds=20.0)
    ours, bare, baseline = (statistics.median(each) for each in times)
    limit = limits.peak / counter.get_total_flops()  # steps a second
    note = (
        f"{ours:.2f} s a step, {ours - bare:.2f} s of it the optimizer's; {counter.get_total_flops() / ours / 1e9:.0f} "
        f"of {limits.peak / 1e9:.0f} GFLOP/s"
    )
    frames = BATCH * FRAMES
    return Row(
        frames / ours,
        frames / baseline,
        "frames/s",
        baseline / ours,
        asked,
        limit * baseline,
        share,
        note,
    )


def training_memory() -> Row:
    """What two steps need at most, against the same baseline."""
    ours, baseline = (peak_memory(_some_steps, *how) for how in (OURS, BASELINE))
    return Row(ours, baseline, "MB", baseline / ours, asked=1.0)


def muon_against_torch(dim: int, share: float, limits: Limits) -> Row:
    """A step of our Muon against one of `torch.optim.Muon`, which computes in bfloat16 even where that is emulated.

    The limit is the matrix peak over the multiplications and additions of our step. Only the matrices of one block are
    taken, and one step of torch's, since that takes seconds.
    """
    torch.manual_seed(0)
    block = transformer.Block(ModelConfig(dim=dim))
    matrices = [module.weight for module in block.modules() if isinstance(module, torch.nn.Linear)]
    for matrix in matrices:
        matrix.grad = torch.randn_like(matrix)
    optimizer = Muon(matrices, lr=1e-3)
    with FlopCounterMode(display=False) as counter:
        optimizer.step()
    (times,) = interleave(optimizer.step, seconds=4.0)
    start = time.perf_counter()
    torch.optim.Muon(matrices, lr=1e-3, adjust_lr_fn="match_rms_adamw").step()
    ours, baseline = statistics.median(times), time.perf_counter() - start
    limit = limits.peak / counter.get_total_flops()
    return Row(ours, baseline, "s", baseline / ours, None, limit * baseline, share)


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
    """Drawing a batch against the gradients that it is for; the files are a thousand, named as often as need be."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder)
        _write_dataset(path, num_files)
        held, start = psutil.Process().memory_info().rss, time.perf_counter()
        crops = TrainingCrops(load_dataset(path), FRAMES, TrainingConfig(), 1_000_000)
        opening, grown = (
            time.perf_counter() - start,
            (psutil.Process().memory_info().rss - held) / 1e6,
        )
        drawn = iter(range(1_000_000))
        load, step = interleave(
            lambda: [crops[next(drawn)] for _ in range(BATCH)],
            training_step(*OURS, optimize=False),
        )
    a, b = statistics.median(load) * 1e3, statistics.median(step) * 1e3
    note = f"opened in {opening:.1f} s, {grown:.0f} MB"
    return Row(a, b, "ms", b / a, asked=10, note=note)


def _write_dataset(path: Path, num_files: int) -> None:
    info = {"codec": "bench", "codec_name": "bench", "sample_rate": 44_100, "hop_length": 512}
    save_config(DatasetInfo(**info, num_codebooks=K, codebook_size=V), path / INFO_FILE)
    rng = np.random.default_rng(0)
    for i in range(1000):
        codes = rng.integers(0, V, (1, K, 500))
        write_dac(path / f"0/{i}.dac", DacFile(codes, 44_100, 500 * 512, -16.0, 500, codec="bench"))
    for folder in range(1, num_files // 1000):  # more names for the same thousand
        (path / str(folder)).mkdir()
        for i in range(1000):
            os.link(path / f"0/{i}.dac", path / f"{folder}/{i}.dac")
    numbers = np.arange(num_files)
    table = {
        "file": [f"{i // 1000}/{i % 1000}.dac" for i in numbers],
        "class": [f"class {i}" for i in numbers % 8],
        "split": "train",
        "frames": 500,
        "strength": rng.random(num_files).round(4),
    }
    pd.DataFrame(table).to_csv(path / MANIFEST_FILE, index=False)
