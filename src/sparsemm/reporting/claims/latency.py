"""C8: decode latency does not grow with the prompt under SparseMM, and does with the full cache."""

from __future__ import annotations

from dataclasses import replace

from sparsemm.errors import InputError
from sparsemm.reporting.claims.base import Claim, Test, above, below, judged, without_interval
from sparsemm.reporting.claims.evidence import Evidence
from sparsemm.reporting.claims.thresholds import FLAT
from sparsemm.stats import growths


def latency(evidence: Evidence, model: str) -> list[Claim]:
    """C8a (SparseMM) and C8b (FullKV): growth from the shortest prompt to the longest, by a straight line.

    A point is the median of a length's repeats: they share a process, so that lengths, not repeats, are independent.
    The interval is that of least squares.
    """
    times = evidence.efficiency(model)
    claims = []
    for letter, policy, statement in (
        ("a", "sparsemm", f"SparseMM's decode latency grows by less than {FLAT * 100:g} % with the prompt."),
        ("b", "fullkv", f"FullKV's decode latency grows by more than {FLAT * 100:g} % with the prompt."),
    ):
        theirs, of = evidence.paper(model).growth(policy)
        claim = Claim(
            f"C8{letter}",
            model,
            "decode",
            statement,
            bound=FLAT,
            detail="no decode latencies",
            paper=theirs,
            paper_of=of,
        )
        own = times[times["policy"] == policy]
        if own.empty:
            claims.append(claim)
            continue
        tokens, values = own["input_tokens"].to_numpy(), own["decode_ms_per_token"].to_numpy()
        said = f"{tokens.min()} to {tokens.max()} tokens"
        said += f", {values[tokens.argmin()]:.2f} to {values[tokens.argmax()]:.2f} ms"
        test = _growth(
            said, tokens.astype(float).tolist(), values.tolist(), evidence.draws, flat=policy == "sparsemm"
        )
        claims.append(judged(replace(claim, detail=""), [test]))
    return claims


def _growth(name: str, tokens: list[float], values: list[float], draws: int, *, flat: bool) -> Test:
    try:
        effect, drawn = growths(tokens, values, draws=draws)
    except InputError:  # one or two lengths, as in a trial
        grown = values[tokens.index(max(tokens))] / values[tokens.index(min(tokens))] - 1.0
        return without_interval(f"{name}, too few lengths for an interval", grown)
    return below(name, effect, drawn, FLAT) if flat else above(name, effect, drawn, FLAT)
