"""Training crops and validation segments of a dataset, as tensors.

A crop, and what is dropped and replaced in it, depends on the seed and the crop's number and on nothing
else. So training that is resumed, or shared among processes, sees the same crops as training that is not.

Shapes: `K` codebooks, `T` frames of a segment, `C` width of a condition.
"""

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import Dataset as TorchDataset

from dacformer.config import TrainingConfig
from dacformer.data.dataset import Dataset, evenly_spaced

Batch = dict[str, Tensor]
"""One item: `codes` and `input_codes` `(K, T)` int64, `condition` `(T or 1, C)` float32, and `mask` `(T,)` bool, True
where a frame counts in the loss. The loader stacks items along a first axis `B`."""


FILES_HELD = 4096
"""Most files in memory; the files of larger datasets are read when they are drawn."""


class TrainingCrops(TorchDataset[Batch]):
    """Random crops of the training files; crop number `i` is always the same.

    The chance of a file is proportional to the number of segments that fit into it (at least one).
    """

    def __init__(self, dataset: Dataset, segment_frames: int, training: TrainingConfig, num_excerpts: int) -> None:
        """Reads the codes of the `train` rows, if they are few enough to stay in memory.

        Args:
            dataset: The dataset; its `train` rows are used.
            segment_frames: Frames of a crop, `T`. Shorter files are padded, and the padding is masked.
            training: Seed, dropout, splice and noise settings.
            num_excerpts: Number of crops.
        """
        self.dataset = dataset
        self.rows = dataset.split("train")
        self.segment_frames = segment_frames
        self.training = training
        self.num_excerpts = num_excerpts
        self._conditions = dataset.encode_rows(self.rows)
        layout = dataset.conditions.layout
        self._channel_dropout = [(layout.mask([name]), share) for name, share in training.channel_dropout.items()]
        self._held: dict[int, np.ndarray] = {}
        self._files = self.rows["file"].to_numpy()
        self._classes = self.rows["class"].to_numpy()
        self._rows_of = {name: np.flatnonzero(self._classes == name) for name in dataset.conditions.classes}
        if len(self.rows) <= FILES_HELD:  # now, so that a damaged file is found before training starts
            for row in range(len(self.rows)):
                self.codes(row)
        weights = np.ceil(dataset.frames_of(self.rows) / segment_frames)
        self._cumulative = np.cumsum(weights) / weights.sum()

    def codes(self, row: int) -> np.ndarray:
        """Returns the codes of a row, `(K, T)` uint16: two bytes a code, 2.5 MB for an hour of sound."""
        if row not in self._held:
            if len(self._held) >= FILES_HELD:
                self._held.clear()
            self._held[row] = self.dataset.codes(self._files[row]).astype(np.uint16)
        return self._held[row]

    @property
    def sample_of_codes(self) -> np.ndarray:
        """Codes for code statistics, `(K, T)` uint16: of all files, or of `FILES_HELD` evenly spaced ones."""
        return np.concatenate([self.codes(row) for row in evenly_spaced(len(self.rows), FILES_HELD)], axis=1)

    def __len__(self) -> int:
        return self.num_excerpts

    def __getitem__(self, index: int) -> Batch:
        rng = np.random.default_rng([self.training.seed, index])
        row = int(np.searchsorted(self._cumulative, rng.random(), side="right").clip(max=len(self.rows) - 1))
        codes, mask = self._excerpt(row, rng)
        condition = self._conditions[row : row + 1]
        if self.training.splice_probability:
            condition = np.repeat(condition, self.segment_frames, axis=0)
            if rng.random() < self.training.splice_probability:
                self._splice(row, codes, mask, condition, rng)
        parameters = len(self.dataset.conditions.parameters)
        condition = self.dataset.conditions.drop_parameters(
            condition, rng.random(parameters) < self.training.parameter_dropout
        )
        for mask, share in self._channel_dropout:
            if rng.random() < share:
                condition = condition * ~mask
        if rng.random() < self.training.condition_dropout:
            condition = np.zeros_like(condition)
        return {
            "codes": torch.from_numpy(codes),
            "input_codes": torch.from_numpy(self._corrupt(codes, rng)),
            "condition": torch.from_numpy(condition.astype(np.float32)),
            "mask": torch.from_numpy(mask),
        }

    def _excerpt(self, row: int, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
        """Draws codes `(K, T)` from a random place in a file, and their mask `(T,)`."""
        codes = self.codes(row)
        start = int(rng.integers(0, max(codes.shape[1] - self.segment_frames, 0) + 1))
        return _segment(codes, start, self.segment_frames)

    def _splice(
        self, row: int, codes: np.ndarray, mask: np.ndarray, condition: np.ndarray, rng: np.random.Generator
    ) -> None:
        """Replaces a crop's end, from a random frame, by a crop of another file, of its class or any; in place."""
        alike = self._rows_of[self._classes[row]]
        other = int(rng.choice(alike) if rng.random() < 0.5 else rng.integers(len(self.rows)))
        next_codes, next_mask = self._excerpt(other, rng)
        at = int(rng.integers(1, mask.sum() + 1))
        rest = len(mask) - at
        codes[:, at:], mask[at:], condition[at:] = next_codes[:, :rest], next_mask[:rest], self._conditions[other]

    def _corrupt(self, codes: np.ndarray, rng: np.random.Generator) -> np.ndarray:
        """Replaces a random share of the frames by random codes: input noise."""
        share = rng.uniform(0.0, self.training.input_noise)
        replaced = rng.random(codes.shape[1]) < share
        noise = rng.integers(0, self.dataset.info.codebook_size, codes.shape)
        return np.where(replaced, noise, codes)


class ValidationSegments(TorchDataset[Batch]):
    """Validation files cut into segments, without randomness; training files if there are no validation files."""

    def __init__(self, dataset: Dataset, segment_frames: int, limit: int) -> None:
        """Reads the files and cuts them into segments.

        Args:
            dataset: The dataset; its `val` rows are used.
            segment_frames: Frames of a segment, `T`.
            limit: Most segments, taken from the files in turn.
        """
        rows = dataset.split("val")
        rows = rows if len(rows) else dataset.split("train")
        rows = rows.iloc[evenly_spaced(len(rows), limit)]
        # Segments are taken in rounds, one from each file, so that a limit leaves no class out.
        rounds: dict[int, list[Batch]] = {}
        for _, row in rows.iterrows():
            codes = dataset.codes(row["file"])
            for start in range(0, codes.shape[1], segment_frames):
                piece, mask = _segment(codes, start, segment_frames)
                tensor = torch.from_numpy(piece)
                item = {"codes": tensor, "input_codes": tensor, "condition": torch.from_numpy(dataset.condition(row))}
                rounds.setdefault(start, []).append(item | {"mask": torch.from_numpy(mask)})
        self.items: list[Batch] = []
        for start in sorted(rounds):
            self.items += [rounds[start][i] for i in evenly_spaced(len(rounds[start]), limit - len(self.items))]

    @property
    def codes(self) -> np.ndarray:
        """All codes that count in the validation loss, `(K, T)` int64."""
        return np.concatenate([item["codes"][:, item["mask"]].numpy() for item in self.items], axis=1)

    def __len__(self) -> int:
        return len(self.items)

    def __getitem__(self, index: int) -> Batch:
        return self.items[index]


def _segment(codes: np.ndarray, start: int, segment_frames: int) -> tuple[np.ndarray, np.ndarray]:
    """Cuts `(K, T)` int64 from `start`, padded with zeros, and its mask `(T,)`, False in the padding."""
    piece = codes[:, start : start + segment_frames].astype(np.int64)
    missing = segment_frames - piece.shape[1]
    return np.pad(piece, ((0, 0), (0, missing))), np.arange(segment_frames) < piece.shape[1]
