"""Excerpts of a data set, as tensors.

Which excerpt is drawn, what is dropped and what is corrupted depends on the seed and the excerpt's number and on
nothing else: training that is resumed, or shared among processes, sees the same excerpts as training that is not.

Shapes: `K` codebooks, `T` frames of a segment, `C` width of a condition.
"""

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import Dataset as TorchDataset

from dacformer.config import TrainingConfig
from dacformer.data.dataset import Dataset, evenly_spaced

Batch = dict[str, Tensor]
"""`codes` and `heard` `(K, T)` int64, `condition` `(T or 1, C)` float32, `mask` `(T,)` bool (True: count it)."""


FILES_HELD = 4096
"""As many files are held in memory; of larger sets the others are read when they are drawn."""


class TrainingCrops(TorchDataset[Batch]):
    """Random excerpts of the training files: excerpt number `i` is always the same.

    A file is drawn as often as segments fit into it (at least once), so a short file counts as much as one segment
    of a long one.
    """

    def __init__(self, dataset: Dataset, segment_frames: int, training: TrainingConfig, num_excerpts: int) -> None:
        """Prepares to draw.

        Args:
            dataset: To draw from; its `train` rows.
            segment_frames: `T`. Shorter files are padded, and the padding masked.
            training: Seed, dropouts and corruption.
            num_excerpts: How many there are.
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
        if len(self.rows) <= FILES_HELD:  # now, so that a damaged file is found before anything else happens
            for row in range(len(self.rows)):
                self.codes(row)
        weights = np.ceil(dataset.frames_of(self.rows) / segment_frames)
        self._cumulative = np.cumsum(weights) / weights.sum()

    def codes(self, row: int) -> np.ndarray:
        """The codes of a row, `(K, T)` uint16: two bytes a code, so an hour of sound is 2.5 MB."""
        if row not in self._held:
            if len(self._held) >= FILES_HELD:
                self._held.clear()
            self._held[row] = self.dataset.codes(self._files[row]).astype(np.uint16)
        return self._held[row]

    @property
    def sample_of_codes(self) -> np.ndarray:
        """Codes to count, `(K, T)`: of all files, or of as many as are held, spread over them."""
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
        """Codes `(K, T)` from anywhere in a file, and their mask `(T,)`."""
        codes = self.codes(row)
        start = int(rng.integers(0, max(codes.shape[1] - self.segment_frames, 0) + 1))
        return _segment(codes, start, self.segment_frames)

    def _splice(
        self, row: int, codes: np.ndarray, mask: np.ndarray, condition: np.ndarray, rng: np.random.Generator
    ) -> None:
        """Lets an excerpt of a row go over into another file, of its class or of any, at any frame; in place."""
        alike = self._rows_of[self._classes[row]]
        other = int(rng.choice(alike) if rng.random() < 0.5 else rng.integers(len(self.rows)))
        next_codes, next_mask = self._excerpt(other, rng)
        at = int(rng.integers(1, mask.sum() + 1))
        rest = len(mask) - at
        codes[:, at:], mask[at:], condition[at:] = next_codes[:, :rest], next_mask[:rest], self._conditions[other]

    def _corrupt(self, codes: np.ndarray, rng: np.random.Generator) -> np.ndarray:
        """Replaces a random share of the frames by random codes, so that the model learns not to trust its past."""
        share = rng.uniform(0.0, self.training.input_noise)
        replaced = rng.random(codes.shape[1]) < share
        noise = rng.integers(0, self.dataset.info.codebook_size, codes.shape)
        return np.where(replaced, noise, codes)


class ValidationSegments(TorchDataset[Batch]):
    """The validation files (the training files, if there are none), cut into segments; nothing is random."""

    def __init__(self, dataset: Dataset, segment_frames: int, limit: int) -> None:
        """Cuts.

        Args:
            dataset: Its `val` rows.
            segment_frames: `T`.
            limit: At most so many segments, taken from the files in turn.
        """
        rows = dataset.split("val")
        rows = rows if len(rows) else dataset.split("train")
        rows = rows.iloc[evenly_spaced(len(rows), limit)]
        # Round after round, one segment from each file, so that a limit leaves no class out.
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
        """All codes that are measured, `(K, T)` int64."""
        return np.concatenate([item["codes"][:, item["mask"]].numpy() for item in self.items], axis=1)

    def __len__(self) -> int:
        return len(self.items)

    def __getitem__(self, index: int) -> Batch:
        return self.items[index]


def _segment(codes: np.ndarray, start: int, segment_frames: int) -> tuple[np.ndarray, np.ndarray]:
    """Cuts `(K, T)` int64 from `start`, padded with zeros, and the mask `(T,)` of what is no padding."""
    piece = codes[:, start : start + segment_frames].astype(np.int64)
    missing = segment_frames - piece.shape[1]
    return np.pad(piece, ((0, 0), (0, missing))), np.arange(segment_frames) < piece.shape[1]
