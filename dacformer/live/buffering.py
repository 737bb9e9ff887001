"""How much sound a client should hold: as little as goes without underruns."""

import math

LEAST_AHEAD, MOST_AHEAD = 0.06, 3.0  # seconds of sound that the client holds
CALM_SECONDS = 10.0  # without an underrun, before less is held again; twice as long after each
LONGEST_CALM_SECONDS = 300.0
SILENCE_SECONDS = 10.0  # without a report from the client, before nothing more is made for it


class BufferController:
    """Adaptive buffer controller: targets the smallest client buffer that avoids underruns.

    The target grows by half after an underrun and shrinks by a fifth after a calm period. Between the client's reports
    the playback position is extrapolated from the clock.
    """

    def __init__(self, sample_rate: int) -> None:
        """Begins with nothing made and no listener.

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
        """Counts samples that are on their way to the client."""
        self._made += samples

    def report(self, now: float, played: float, runs: bool, underruns: int) -> None:
        """Takes a report of the client.

        Args:
            now: Seconds of any clock that does not jump.
            played: Samples, since the beginning.
            runs: The sound runs now (it does not before the first buffer is full, nor after an underrun).
            underruns: New ones.
        """
        guess = self._played_by(now)
        # A report that was held up tells of the past, so one that is below the guess is believed slowly.
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
        """Seconds until more is to be made; infinite while no client reports."""
        if now - self._reported > SILENCE_SECONDS:
            return math.inf
        return max(0.0, (self._made - self._played_by(now)) / self._rate - self.target_seconds)

    def _played_by(self, now: float) -> float:
        since = (now - self._reported) * self._rate if self._runs else 0.0
        return min(self._made, self._played + since)
