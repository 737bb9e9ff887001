"""The same on a GPU, where there is one: streams side by side, and the share of its peak that training uses."""

import statistics
from functools import partial

import torch

from benchmarks.learning import BATCH, FRAMES, SIZES, make_training_model, multiplied_weights, training_step
from benchmarks.measure import FRAME_RATE, C, Row, W, interleave, matrix_peak, row
from benchmarks.playing import likeliest, make_model


@torch.inference_mode()
def generate_on(device: str, batch_size: int, steps: int = 20) -> Row:
    """Seconds of sound, as codes, that streams side by side make in a second, with torch's own step."""
    model = make_model(**SIZES).to(device, torch.bfloat16)
    state = model.init_state(batch_size)
    condition = torch.zeros(batch_size, 1, C, device=device, dtype=torch.bfloat16)

    def play() -> None:
        for _ in range(steps):
            last = model.step(condition, state, likeliest)
        last.cpu()  # waits until it is done

    for _ in range(-(-W // steps)):
        play()
    took = statistics.median(interleave(play, lambda: None)[0]) / steps
    made = batch_size / FRAME_RATE / took
    name = f"generate D={SIZES['dim']} L={SIZES['num_layers']}, bf16, batch {batch_size}, {_card(device)}"
    return row(name, made, 1.0, made, 1.0, "x real time", f"{took * 1e3:.2f} ms a step")


def train_on(device: str, batch_size: int = 16 * BATCH) -> Row:
    """Frames a second, and the share of the matrix peak that their multiplications are."""
    step = training_step("auto", False, device=device, batch_size=batch_size)
    took = statistics.median(interleave(step, lambda: None)[0])
    frames = batch_size * FRAMES / took
    share = 6 * multiplied_weights(make_training_model()) * frames / matrix_peak(torch.bfloat16, device)
    name = f"train D={SIZES['dim']} L={SIZES['num_layers']}, {batch_size} x {FRAMES}, {_card(device)}"
    return row(name, frames, 0.0, 1.0, 0.0, "frames/s") | {"limit_share": round(share, 3)}


def rows_on(device: str) -> list[partial[Row]]:
    """All of them."""
    return [*(partial(generate_on, device, batch_size) for batch_size in (1, 64, 1024)), partial(train_on, device)]


def _card(device: str) -> str:
    return torch.cuda.get_device_name(device) if device.startswith("cuda") else device
