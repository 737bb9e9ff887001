"""The same on a GPU, where there is one: streams side by side, and the share of its peak that training uses."""

import statistics

import torch
from torch.utils.flop_counter import FlopCounterMode

from benchmarks.learning import FRAMES, OURS, SIZES, training_step
from benchmarks.limits import matrix_peak
from benchmarks.measure import FRAME_RATE, C, Row, W, interleave
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
    (times,) = interleave(play)
    took = statistics.median(times) / steps
    made = batch_size / FRAME_RATE / took
    return Row(made, 1.0, "x real time", made, asked=1.0, note=f"{took * 1e3:.2f} ms a step")


def train_on(device: str, batch_size: int, share: float) -> Row:
    """Frames a second, against those that the matrix peak would allow: the limit."""
    step = training_step(*OURS, device=device, batch_size=batch_size)
    with FlopCounterMode(display=False) as counter:
        step()
    (times,) = interleave(step)
    frames = batch_size * FRAMES / statistics.median(times)
    limit = batch_size * FRAMES * matrix_peak(torch.bfloat16, device) / counter.get_total_flops()
    return Row(frames, limit, "frames/s", frames / limit, limit_ratio=1.0, share=share)
