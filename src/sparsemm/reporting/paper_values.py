"""The paper's numbers (arXiv 2506.05344) from data/paper, under our names of models, methods and benchmarks."""

from __future__ import annotations

from pathlib import Path

import pandas as pd

from sparsemm.errors import InputError

VICUNA, MISTRAL, QWEN = "llava-next-vicuna-7b", "llava-next-mistral-7b", "qwen2-vl-7b-instruct"
PAPER_MODELS = (VICUNA, MISTRAL, QWEN)
# Benchmarks of table 6 and figure 5, the paper's and those of rich pages; every other one is in table 5 and figure 4.
TABLE6 = ("mmbench", "gqa", "vqav2", "docs-vqa", "docs-ocr", "docs-chart")
# Table 2's latency: tokens of the prompt, budget.
LATENCY_TOKENS, LATENCY_BUDGET = 16384, 256

# Names that differ: our model -> theirs, their method -> ours.
_THEIR_MODELS = {"qwen2-vl-7b": QWEN}
_OUR_METHODS = {"random": "random_heads"}
_FAMILIES = {"llava-next": (VICUNA, MISTRAL), "qwen2-vl": (QWEN,)}
# Parts of the budget in table 4: local_window, uniform, score_preferred -> label of the cell.
_PARTS = {(1, 0, 0): "local_window", (1, 1, 0): "sparsemm[rho=1.0]", (1, 1, 1): "sparsemm"}


def paper_name(model: str) -> str:
    """The paper's name of one of our models; a model that is not in the paper keeps its name."""
    return _THEIR_MODELS.get(model, model)


def in_paper(model: str) -> bool:
    """Whether a model of a run is one of the paper's."""
    return paper_name(model) in PAPER_MODELS


def input_tokens(path: str | Path) -> pd.DataFrame:
    """Table 1: paper_model, benchmark, paper_mean_input_tokens. The paper gives LLaVA-NeXT's once, for both models."""
    frame = _read(path, ["model_family", "benchmark", "mean_input_tokens"])
    frame = frame.assign(paper_model=[_FAMILIES.get(name, ()) for name in frame["model_family"]])
    frame = frame.explode("paper_model", ignore_index=True)
    frame = frame.rename(columns={"mean_input_tokens": "paper_mean_input_tokens"})
    return frame[["paper_model", "benchmark", "paper_mean_input_tokens"]]


def accuracy_speed(path: str | Path) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Table 2, of LLaVA-NeXT-Vicuna-7B: the scores and the decode latencies.

    Returns:
        paper_model, policy, benchmark, paper_score (two digits); and paper_model, policy, paper_decode_ms_per_token.
    """
    latency = "decode_latency_ms_16k_budget256"
    frame = _read(path, ["method", latency]).assign(paper_model=VICUNA)
    frame = _our_methods(frame)
    times = frame.rename(columns={latency: "paper_decode_ms_per_token"})
    keys = ["paper_model", "policy"]
    scores = frame.drop(columns=latency).melt(keys, var_name="benchmark", value_name="paper_score")
    return scores, times[[*keys, "paper_decode_ms_per_token"]]


def rho_sweep(path: str | Path) -> pd.DataFrame:
    """Table 3, OCRBench at a budget of 256: paper_model, benchmark, budget, rho, paper_score."""
    frame = _read(path, ["model", "rho", "score"]).rename(columns=_RENAMED)
    return frame.assign(benchmark="ocrbench", budget=256)


def parts(path: str | Path) -> pd.DataFrame:
    """Table 4, MMBench with Qwen2-VL: paper_model, benchmark, policy (the label of the cell), budget, paper_score."""
    keys = ["local_window", "uniform", "score_preferred"]
    frame = _read(path, [*keys, "budget", "score"]).rename(columns=_RENAMED)
    labels = [_PARTS[tuple(row)] for row in frame[keys].to_numpy().tolist()]
    frame = frame.drop(columns=keys).assign(paper_model=QWEN, benchmark="mmbench", policy=labels)
    return frame.round({"paper_score": 6})  # 0.8140000000000001


def accuracy(path: str | Path) -> pd.DataFrame:
    """Tables 5 and 6: table, paper_model, benchmark, policy, budget, paper_score (CIDEr as pycocoevalcap gives it)."""
    frame = _read(path, ["model", "method", "score", "benchmark", "budget"])
    return _our_methods(frame.rename(columns=_RENAMED))


def efficiency(path: str | Path) -> pd.DataFrame:
    """Figure 6: paper_model, policy, input_tokens, decode_ms_per_token, peak_gb, source ("figure": read off it)."""
    values = {"decode_latency_ms_per_token": "decode_ms_per_token", "peak_memory_gb": "peak_gb"}
    frame = _read(path, ["model", "method", "input_tokens", *values, "source"])
    return _our_methods(frame.rename(columns=_RENAMED | values))


_RENAMED = {"model": "paper_model", "score": "paper_score"}


def _our_methods(frame: pd.DataFrame) -> pd.DataFrame:
    names = frame["method"].replace(_OUR_METHODS)
    return frame.assign(policy=names).drop(columns="method")


def _read(path: str | Path, columns: list[str]) -> pd.DataFrame:
    """A file of data/paper that has `columns`, or one clear line."""
    try:
        frame = pd.read_csv(path)
    except (OSError, ValueError) as error:
        reason = (str(error).splitlines() or [type(error).__name__])[0]
        raise InputError(
            f"{path}: the paper's numbers cannot be read ({reason}); restore the file"
        ) from error
    missing = [name for name in columns if name not in frame.columns]
    if missing:
        raise InputError(f"{path}: column {missing[0]} is missing; restore the file")
    return frame
