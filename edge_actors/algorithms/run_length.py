"""Thresholds from the wanted time between false alarms."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from math import exp, lgamma, log

OVERSHOOT = 1.166  # Siegmund's correction for discrete time
STEEPEST = 20.0  # no exponent of a run length is larger


def run_length(h: float, k: float) -> float:
    """Mean number of standard normal increments until a CUSUM with reference value k exceeds h.

    Siegmund 1985, Sequential Analysis, section 2.6: (exp(a) - a - 1) / (2 k^2) with a = 2 k (h + 1.166).
    """
    a = 2 * k * (h + OVERSHOOT)
    return (exp(a) - a - 1) / (2 * k * k)


def cusum_threshold(k: float, scenes: float) -> float:
    """The h with which a CUSUM of standard normal scenes runs `scenes` scenes between false alarms."""
    return _root(lambda h: run_length(h, k) - scenes, 0.0, 1.0)


def exponent(weighted: Iterable[tuple[float, float]], k: float) -> float:
    """The t > 0 with mean exp(t (x - k)) = 1 over weighted values x: a CUSUM of such values passes h at a rate that
    falls with exp(-t h) (Lundberg; Siegmund 1985, section 2.3). Twice k for standard normal values, less for values
    with a heavier upper tail.
    """
    pairs = list(weighted)
    total = sum(weight for _, weight in pairs)

    def excess(t: float) -> float:
        return sum(weight * exp(t * (x - k)) for x, weight in pairs) / total - 1

    if max((x for x, weight in pairs if weight), default=0.0) <= k or excess(STEEPEST) < 0:
        return STEEPEST
    return _root(excess, 1e-6, STEEPEST, grow=False)


def ewma_threshold(dimension: int, weight: float, scenes: float) -> float:
    """The level that |e|^2 in units of its variance passes once in `scenes` scenes, for an exponentially weighted
    average e of `dimension` standard normal numbers, each scene with `weight`.

    e is an Ornstein-Uhlenbeck process, |e|^2 a diffusion with drift 2 w (D - y): excursions above a high level b come
    at the rate 2 w (b - D) f(b), f the density of chi-squared with D degrees of freedom (Aldous 1989, Probability
    Approximations via the Poisson Clumping Heuristic, section D).
    """
    half = dimension / 2

    def log_rate(b: float) -> float:
        density = (half - 1) * log(b) - b / 2 - half * log(2) - lgamma(half)
        return log(2 * weight * (b - dimension)) + density

    mode = dimension + 2 + (2 * dimension) ** 0.5  # beyond it the rate falls
    return _root(lambda b: -log(scenes) - log_rate(b), mode, 2 * mode)


def _root(of: Callable[[float], float], low: float, high: float, grow: bool = True) -> float:
    """Where a function that is below zero at `low` reaches zero, by halving; `low` where it already has."""
    while grow and of(high) < 0:
        high *= 2
    while high - low > 1e-9 * max(high, 1.0):
        middle = (low + high) / 2
        low, high = (middle, high) if of(middle) < 0 else (low, middle)
    return high
