"""Evaluation: result rows, batches, and runs that are killed and go on."""

from __future__ import annotations

import dataclasses
import os
import signal
import subprocess
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from sparsemm.benchmarks import (
    Generation,
    Metric,
    RowMetric,
    RunMetric,
    Sample,
    Unit,
    get_benchmark,
    score_rows,
)
from sparsemm.errors import InputError
from sparsemm.evaluation.batches import batches
from sparsemm.evaluation.cells import Cell, describe, make_cells
from sparsemm.evaluation.evaluate import evaluate
from sparsemm.evaluation.settings import RunSettings, work_facts
from sparsemm.models.loading import Loaded
from sparsemm.policies import SparseMM
from sparsemm.results.parquet import read_table, write_table

from helpers import tiny

PAIRS = [("fullkv", 0), ("snapkv", 12), ("snapkv", 40), ("sparsemm[rho=0.3]", 12), ("local_window", 12)]


def loaded(variant: str = "mha") -> Loaded:
    return Loaded(tiny.model(variant), tiny.processor(), "llava_next", "tiny", "0")


def some_cells() -> list[Cell]:
    scores = np.full((tiny.LAYERS, tiny.HEADS), 1 / (tiny.LAYERS * tiny.HEADS))
    return make_cells(PAIRS, window=4, kernel=5, scores=scores)


def samples(count: int = 5) -> list[Sample]:
    return list(get_benchmark("synth-docvqa").load(count, seed=1))


def quiet(batch_size: int = 16, workdir: Path | None = None) -> RunSettings:
    return RunSettings(batch_size=batch_size, workdir=workdir, progress=False)


def test_rows_are_a_predictions_file(tmp_path: Path) -> None:
    benchmark = get_benchmark("synth-docvqa", max_new_tokens=4)
    frame = evaluate(loaded(), benchmark, samples(), some_cells(), quiet(2))
    write_table(tmp_path / "predictions.parquet", frame, "predictions", {})
    back = read_table(tmp_path / "predictions.parquet", "predictions")
    assert len(back) == 5 * len(PAIRS)
    assert set(zip(back.policy, back.budget)) == set(PAIRS)
    full = back[back.policy == "fullkv"]
    assert (full.kept_tokens == full.prompt_tokens).all()
    token_bytes = tiny.LAYERS * tiny.HEADS * 2 * tiny.HEAD_DIM * 4
    assert (back.cache_bytes == back.kept_tokens * token_bytes).all()
    assert (back[(back.policy == "snapkv") & (back.budget == 12)].kept_tokens == 12).all()
    assert (back[back.policy == "local_window"].kept_tokens == 12).all()
    assert list(back.image_id) == list(back.sample_id)  # a page has one question here
    by_id = {sample.id: sample.data for sample in samples()}
    for row in back.itertuples():
        assert score_rows(benchmark, [by_id[row.sample_id]], [row.prediction]) == ([row.score], row.score)


def test_batch_size_changes_nothing() -> None:
    benchmark = get_benchmark("synth-docvqa", max_new_tokens=4)
    alone, batched = (
        evaluate(loaded("gqa"), benchmark, samples(), some_gqa_cells(), quiet(size)) for size in (1, 4)
    )
    assert alone.equals(batched)


def some_gqa_cells() -> list[Cell]:
    scores = np.full((tiny.LAYERS, 2), 1 / (tiny.LAYERS * 2))
    return make_cells(PAIRS, window=4, kernel=5, scores=scores)


def test_batches_hold_every_sample_once_and_like_sizes_together() -> None:
    found = [sample for batch in batches(samples(9), 4) for sample in batch]
    assert sorted(sample.id for sample in found) == [sample.id for sample in samples(9)]
    areas = [sample.image.size[0] * sample.image.size[1] for sample in found]
    assert areas == sorted(areas)


def test_a_stopped_run_goes_on_and_gives_the_same_rows(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    benchmark = get_benchmark("synth-docvqa", max_new_tokens=3)
    whole = evaluate(loaded(), benchmark, samples(), some_cells(), quiet(2))
    import sparsemm.evaluation.evaluate as module

    real, calls = module.answer, []

    def failing(*args: object) -> object:
        calls.append(1)
        if len(calls) == 3:
            raise KeyboardInterrupt
        return real(*args)  # type: ignore[arg-type]

    monkeypatch.setattr(module, "answer", failing)
    arguments = (loaded(), benchmark, samples(), some_cells())
    with pytest.raises(KeyboardInterrupt):
        evaluate(*arguments, quiet(2, tmp_path))
    assert len(list(tmp_path.iterdir())) == 2
    again = evaluate(*arguments, quiet(2, tmp_path))
    assert len(calls) == 4  # of three batches only the third was run again
    assert again.equals(whole)
    assert len(list(tmp_path.iterdir())) == 3
    calls += [1] * 5  # past the interrupt
    other = evaluate(*arguments[:3], some_cells()[:2], quiet(2, tmp_path))
    assert len(calls) == 4 + 5 + 3  # parts of other cells are not used
    assert len(other) == 2 * 5


def test_kill_9_and_rerun_give_the_same_bytes(tmp_path: Path) -> None:
    frame = evaluate(loaded(), get_benchmark("synth-chart"), chart_samples(), some_cells(), quiet(2))
    write_table(tmp_path / "straight.parquet", frame, "predictions", {})
    folder = Path(__file__).parent
    paths = [str(path) for path in (folder.parents[1] / "src", folder.parent, folder)]
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(paths)}
    code = f"import test_evaluate; test_evaluate.die_midway({str(tmp_path / 'work')!r})"
    killed = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, check=False)
    assert killed.returncode == -signal.SIGKILL, killed.stderr.decode()
    assert len(list((tmp_path / "work").iterdir())) == 1
    settings = quiet(2, tmp_path / "work")
    again = evaluate(loaded(), get_benchmark("synth-chart"), chart_samples(), some_cells(), settings)
    write_table(tmp_path / "again.parquet", again, "predictions", {})
    assert (tmp_path / "again.parquet").read_bytes() == (tmp_path / "straight.parquet").read_bytes()


def chart_samples() -> list[Sample]:
    return list(get_benchmark("synth-chart").load(4, seed=2))


def die_midway(workdir: str) -> None:
    """For the test above, in a process of its own: the second batch is never finished."""
    import sparsemm.evaluation.evaluate as module

    real, calls = module.answer, []

    def answer(*args: object) -> object:
        calls.append(1)
        if len(calls) == 2:
            os.kill(os.getpid(), signal.SIGKILL)
        return real(*args)  # type: ignore[arg-type]

    module.answer = answer  # type: ignore[assignment]
    benchmark = get_benchmark("synth-chart")
    evaluate(loaded(), benchmark, chart_samples(), some_cells(), quiet(2, Path(workdir)))


def test_bad_work_is_refused(tmp_path: Path) -> None:
    benchmark = get_benchmark("synth-docvqa")
    with pytest.raises(InputError, match="policies"):
        evaluate(loaded(), benchmark, samples(1), [], quiet())
    with pytest.raises(InputError, match="batch_size"):
        evaluate(loaded(), benchmark, samples(1), some_cells(), quiet(0))
    with pytest.raises(InputError, match="max_new_tokens"):
        evaluate(loaded(), benchmark, samples(1), some_cells(), RunSettings(max_new_tokens=0))
    with pytest.raises(InputError, match="unknown rule set 'old'"):
        evaluate(loaded(), benchmark, samples(1), some_cells(), RunSettings(rules="old"))
    with pytest.raises(InputError, match="twice"):
        make_cells([("snapkv", 12), ("snapkv", 12)], window=4)
    with pytest.raises(InputError, match="policy"):
        make_cells([("snapkw", 12)], window=4)
    (tmp_path / "file").write_text("not a folder")
    with pytest.raises(InputError, match="written"):
        evaluate(loaded(), benchmark, samples(1), some_cells(), quiet(1, tmp_path / "file" / "work"))


def test_a_policy_is_described_with_its_scores() -> None:
    first = SparseMM(np.full((3, 6), 1 / 18), 12, window=4)
    same = SparseMM(np.full((3, 6), 1 / 18), 12, window=4)
    values = np.full((3, 6), 1 / 18)
    values[0, 0], values[0, 1] = values[0, 1] * 2, 0
    assert describe(first) == describe(same) != describe(SparseMM(values, 12, window=4))
    assert describe(first) != describe(SparseMM(np.full((3, 6), 1 / 18), 12, window=4, rho=0.2))


def changed(sample: Sample, **values: object) -> Sample:
    return dataclasses.replace(sample, **values)  # type: ignore[arg-type]


def test_resume_depends_on_what_a_row_is_and_on_the_encoded_image() -> None:
    benchmark = get_benchmark("synth-docvqa")
    first, second = samples(2)
    facts = work_facts(loaded(), benchmark, [first, second], quiet())
    assert facts == work_facts(loaded(), benchmark, samples(2), quiet())
    for other in (
        changed(first, id="other"),
        changed(first, image_id="other"),
        changed(first, answers=("other",)),
        changed(first, data={**first.data, "question": "other"}),
        changed(first, image=second.image),
    ):
        assert facts != work_facts(loaded(), benchmark, [other, second], quiet())
    assert facts != work_facts(loaded(), benchmark, [second, first], quiet())


@dataclasses.dataclass(frozen=True)
class Rotated:
    """synth-docvqa asked in another way for each family, two rows an image, scored over the whole run."""

    name: str = "rotated"
    metric: str = "groups"

    @property
    def rules(self) -> Mapping[str, Metric]:
        return {
            "paper": RunMetric(lambda rows, texts: [Unit(0, 0.0)]),
            "current": RowMetric(by_length),
        }

    def generation(self, family: str) -> Generation:
        return Generation(3)

    def load(self, count: int, seed: int, *, shard: int = 0, shards: int = 1) -> Iterator[Sample]:
        for sample in get_benchmark("synth-docvqa").load(count, seed):
            for turn in "ab":
                yield changed(sample, id=sample.id + turn, image_id=sample.id, data={"turn": turn})

    def prompt(self, row: Mapping[str, Any], family: str = "", *, rules: str = "paper") -> str:
        return f"{family} {rules} {row['turn']}"


def by_length(row: Mapping[str, Any], text: str) -> float:
    return len(text) % 2 / 2 + (row["turn"] == "b") / 2


def test_a_metric_of_whole_runs_leaves_the_scores_of_a_shard_empty() -> None:
    settings = quiet(2)
    frame = evaluate(loaded(), Rotated(), Rotated().load(2, 0), some_cells(), settings)
    assert frame.score.isna().all()
    assert frame.score_paper.isna().all()
    by_row = [by_length({"turn": row.sample_id[-1]}, row.prediction) for row in frame.itertuples()]
    assert frame.score_current.tolist() == by_row  # every prediction is scored by both rule sets
    assert sorted(set(zip(frame.sample_id, frame.image_id))) == [
        (f"synth-docvqa-00000{index}{turn}", f"synth-docvqa-00000{index}")
        for index in (0, 1)
        for turn in "ab"
    ]
    settings = dataclasses.replace(settings, rules="current")
    frame = evaluate(loaded(), Rotated(), Rotated().load(2, 0), some_cells(), settings)
    wanted = [by_length({"turn": row.sample_id[-1]}, row.prediction) for row in frame.itertuples()]
    assert frame.score.tolist() == wanted
    assert frame.score.nunique() > 1


def test_the_prompt_is_that_of_the_model_s_family_and_the_rule_set(monkeypatch: pytest.MonkeyPatch) -> None:
    import sparsemm.evaluation.images as module

    real, asked = module.ImageMemory.inputs, []

    def inputs(memory: Any, batch: list[Sample], prompts: list[str]) -> Any:
        asked.extend(prompts)
        return real(memory, batch, prompts)

    monkeypatch.setattr(module.ImageMemory, "inputs", inputs)
    settings = dataclasses.replace(quiet(4), rules="current")
    evaluate(loaded(), Rotated(), Rotated().load(1, 0), some_cells(), settings)
    assert asked == ["llava_next current a", "llava_next current b"]
