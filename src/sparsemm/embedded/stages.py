"""Training stages that can be stopped and resumed: schedule, optimiser, checkpoints, the curve."""

from __future__ import annotations

import csv
import math
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import torch
from torch import nn

Compute = Callable[[], tuple[torch.Tensor, torch.Tensor]]  # the loss and the accuracy of a step


class Trained(Protocol):
    """What a checkpoint holds."""

    def state_dict(self) -> Any:
        """Its weights by name."""

    def load_state_dict(self, state: Any) -> Any:
        """Take weights over."""


@dataclass(frozen=True)
class Schedule:
    """How a stage is trained.

    Attributes:
        name: in the names of its checkpoints.
        steps: of the optimiser.
        warm: steps of linear warm-up; a cosine decay to 2 % of the peak follows.
        weight_decay: of AdamW.
        save_every: steps between checkpoints.
    """

    name: str
    steps: int
    warm: int = 50
    weight_decay: float = 0.01
    save_every: int = 100

    def factor(self, step: int) -> float:
        """Learning rate of a step as a share of the peak."""
        if step < self.warm:
            return (step + 1) / self.warm
        done = (step - self.warm) / max(1, self.steps - self.warm)
        return 0.02 + 0.49 * (1 + math.cos(math.pi * done))


def run_schedule(
    trained: Trained,
    schedule: Schedule,
    groups: Sequence[tuple[Sequence[nn.Parameter], float]],
    losses: Callable[[int], Iterable[Compute]],
    work: Path,
    report: Callable[[str], None],
) -> None:
    """Train one stage, or load it if it is done; resumes from its last checkpoint.

    Args:
        trained: what checkpoints hold; trained in place.
        schedule: of the stage.
        groups: parameters and the peak of their learning rate.
        losses: from a step's number, that step's computation and all later ones'.
        work: folder of checkpoints and of curve.csv (stage, step, seconds, loss, accuracy).
        report: called with a line of progress every 20 steps.
    """
    done, part = work / f"stage-{schedule.name}.pt", work / f"stage-{schedule.name}.part.pt"
    if done.exists():
        trained.load_state_dict(torch.load(done))
        return
    settings: list[dict[str, Any]] = [{"params": list(each), "lr": rate} for each, rate in groups]
    optimiser = torch.optim.AdamW(settings, betas=(0.9, 0.98), weight_decay=schedule.weight_decay)
    parameters = [parameter for each, _ in groups for parameter in each]
    first, spent = 0, 0.0
    if part.exists():
        state = torch.load(part)
        trained.load_state_dict(state["model"])
        optimiser.load_state_dict(state["optimiser"])
        first, spent = state["step"], state["seconds"]
    began = time.monotonic() - spent
    for step, compute in enumerate(losses(first), start=first):
        for group, (_, rate) in zip(optimiser.param_groups, groups):
            group["lr"] = rate * schedule.factor(step)
        loss, accuracy = compute()
        optimiser.zero_grad(set_to_none=True)
        loss.backward()  # type: ignore[no-untyped-call]
        nn.utils.clip_grad_norm_(parameters, 1.0)
        optimiser.step()
        if step % 20 == 19:
            seconds = time.monotonic() - began
            row = [schedule.name, step + 1, round(seconds, 1), loss.item(), accuracy.item()]
            with (work / "curve.csv").open("a", newline="") as file:
                csv.writer(file).writerow(row)
            report(
                f"stage {schedule.name} step {step + 1} {seconds:.0f} s "
                f"loss {loss.item():.4f} accuracy {accuracy.item():.3f}"
            )
        if step % schedule.save_every == schedule.save_every - 1:
            state = {"model": trained.state_dict(), "optimiser": optimiser.state_dict(), "step": step + 1}
            save(state | {"seconds": time.monotonic() - began}, part)
    save(trained.state_dict(), done)
    part.unlink(missing_ok=True)


def save(state: Any, path: Path) -> None:
    """Write a checkpoint atomically."""
    beside = path.with_suffix(".tmp")
    torch.save(state, beside)
    beside.replace(path)
