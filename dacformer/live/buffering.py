"""Buffer control: keeps the client's buffer as short as possible without underruns."""

import math

LEAST_AHEAD, MOST_AHEAD = 0.06, 3.0  # bounds of the target, in seconds of sound
CALM_SECONDS = 10.0  # without an underrun before the target shrinks; doubles after each underrun
LONGEST_CALM_SECONDS = 300.0
SILENCE_SECONDS = 10.0  # without a report of the client, after which generation pauses


class BufferController:
    """Adaptive buffer controller: targets the smallest client buffer that avoids underruns.

    The target grows by half after an underrun and shrinks by a fifth after a calm period. Between the client's reports
    the playback position is extrapolated from the clock.
    """

    def __init__(self, sample_rate: int) -> None:
        """Starts with nothing generated and no client.

        Args:
            sample_rate: In Hz.
        """
        self._rate = sample_rate
        self._made = self._played = 0.0  # samples; the latter as of the last report
        self._runs = False
        self._reported = -math.inf
        self._calm_since, self._calm = -math.inf, CALM_SECONDS
        self.underruns = 0
        self.target_seconds = LEAST_AHEAD

    def made(self, samples: int) -> None:
        """Adds to the number of samples that were sent to the client."""
        self._made += samples

    def report(self, now: float, played: float, runs: bool, underruns: int) -> None:
        """Processes a report of the client.

        Args:
            now: Time in seconds, by a monotonic clock.
            played: Samples played since the start.
            runs: Whether audio is playing now. It is not before the first buffer is full, nor after an underrun.
            underruns: Number of underruns since the last report.
        """
        guess = self._played_by(now)
        # A delayed report is too low, so one below the extrapolated position corrects it by a tenth only.
        self._played = played if not runs or underruns or played > guess else guess + 0.1 * (played - guess)
        if now - self._reported > SILENCE_SECONDS:
            self._calm_since = now
        self._reported, self._runs = now, runs
        self.underruns += underruns
        if underruns:
            self.target_seconds, self._calm_since = min(1.5 * self.target_seconds, MOST_AHEAD), now
            self._calm = min(2.0 * self._calm, LONGEST_CALM_SECONDS)
        elif now - self._calm_since > self._calm:
            self.target_seconds, self._calm_since = max(0.8 * self.target_seconds, LEAST_AHEAD), now

    def due_in(self, now: float) -> float:
        """Returns the seconds until the next chunk is due; infinity while no client reports."""
        if now - self._reported > SILENCE_SECONDS:
            return math.inf
        return max(0.0, (self._made - self._played_by(now)) / self._rate - self.target_seconds)

    def _played_by(self, now: float) -> float:
        since = (now - self._reported) * self._rate if self._runs else 0.0
        return min(self._made, self._played + since)
