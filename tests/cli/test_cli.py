"""The commands: what each prints and writes equals what the library gives."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from sparsemm import HeadScores, SparseMM, compress
from sparsemm.cli import kept_picture
from sparsemm.heads.probe import generate_probe
from sparsemm.heads.synthdog import write_synthdog
from sparsemm.models.loading import build_inputs, load_model

from helpers.cli_runs import MODEL, SHORT, objects, printed
from helpers.published import PUBLISHED, needs_published
from helpers.tiny_families import tiny_family


@pytest.fixture(scope="module")
def page(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("page") / "page.png"
    generate_probe(1, 0)[0].image.save(path)
    return path


@pytest.fixture(scope="module")
def scores(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("scores") / "scores.parquet"
    values = np.random.default_rng(0).random((6, 12))
    HeadScores(values=values, metadata={"model": MODEL.name}).save(path)
    return path


def test_answer_is_that_of_compress(page: Path, scores: Path, capsys: pytest.CaptureFixture[str]) -> None:
    words = ["answer", page, "Read it.", "--model", MODEL, "--scores", scores, "--budget", 40, *SHORT]
    found = objects(capsys, *words, "--compare")
    loaded = load_model(MODEL)
    with Image.open(page) as image:
        inputs = build_inputs(loaded, [image.convert("RGB")], ["Read it."])
    texts = []
    for policy in (SparseMM(HeadScores.load(scores), budget=40, window=8), None):
        options = {"max_new_tokens": 6, "do_sample": False}
        if policy is None:
            out = loaded.model.generate(**inputs, **options)
        else:
            with compress(loaded.model, policy) as run:
                out = loaded.model.generate(**inputs, **options)
            assert found["cache_bytes"] == run.cache_bytes
            assert found["kept_tokens"] == pytest.approx(float(run.kept.double().mean()))
        prompt = inputs["input_ids"].shape[1]
        texts.append(loaded.processor.tokenizer.decode(out[0, prompt:], skip_special_tokens=True).strip())
    assert [found["text"], found["full"]["text"]] == texts
    assert found["full"]["kept_tokens"] == found["prompt_tokens"] == prompt
    assert found["full"]["cache_bytes"] == prompt * 6 * 12 * 2 * 24 * 4
    assert found["new_tokens"] <= 6
    assert found["prefill_seconds"] > 0
    assert found["decode_ms_per_token"] > 0
    assert (found["policy"], found["budget"], found["window"]) == ("sparsemm", 40, 8)


def test_answer_shows_the_image_tokens_that_were_kept(
    page: Path,
    scores: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    drawn = []
    plain = kept_picture.figure_kept
    monkeypatch.setattr(kept_picture, "figure_kept", lambda *args: drawn.append(args) or plain(*args))
    file = tmp_path / "kept.png"
    words = ["answer", page, "Read it.", "--model", MODEL, "--scores", scores, "--budget", 40, *SHORT]
    told = objects(capsys, *words, "--show", file)
    assert told["picture"] == str(file)
    with Image.open(file) as opened:
        assert min(opened.size) > 400
    ((_, _, (rows, cols), kept, _),) = drawn
    assert kept.shape == (6, 12, len(rows) - 1, len(cols) - 1)
    # Each head's best and newest tokens; those of the text and of the small image are not drawn.
    most = kept.sum((2, 3)).mean()
    assert 0 < most < told["kept_tokens"] == 40


def test_answer_prints_text_first_and_a_line_a_run(page: Path, capsys: pytest.CaptureFixture[str]) -> None:
    words = ["answer", page, page, "Both?", "--model", MODEL, "--policy", "snapkv", "--budget", 40, *SHORT]
    lines = printed(capsys, *words, "--compare").splitlines()
    assert lines[0].startswith("snapkv at 40: ")
    ours = next(line.split() for line in lines if line.startswith("snapkv at 40  "))
    full = next(line.split() for line in lines if line.startswith("full cache  "))
    assert ours[3:5] == [full[2], "40.0"]  # prompt tokens, tokens kept a head
    assert full[3] == f"{full[2]}.0"
    alone = printed(capsys, *words[:1], page, *words[3:]).splitlines()
    prompt = next(line.split() for line in alone if line.startswith("snapkv at 40  "))[3]
    assert int(prompt) < int(full[2])  # one image, not two
    assert not any(line.startswith(("full cache", "snapkv at 40: ")) for line in alone)


@pytest.mark.parametrize("name", ["llava_next-mistral", "qwen2_vl", "internvl"])
def test_other_families_answer_and_are_audited(
    name: str, page: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    model, processor = tiny_family(name)
    model.save_pretrained(tmp_path / name)
    processor.save_pretrained(tmp_path / name)
    words = ["answer", page, page, "Read it.", "--model", tmp_path / name, "--policy", "snapkv"]
    found = objects(capsys, *words, "--budget", 40, *SHORT, "--compare")
    assert found["kept_tokens"] == 40
    assert found["full"]["kept_tokens"] == found["prompt_tokens"]
    text = model.config.get_text_config()
    HeadScores(values=np.ones((text.num_hidden_layers, text.num_attention_heads))).save(tmp_path / "s.json")
    rows = ["audit", "--scores", tmp_path / "s.json", "--model", tmp_path / name]
    assert objects(capsys, *rows)["kv_heads"] == text.num_key_value_heads


def test_quantised_storage_takes_fewer_bytes(page: Path, capsys: pytest.CaptureFixture[str]) -> None:
    words = ["answer", page, "Q", "--model", MODEL, "--policy", "snapkv", "--budget", 64, *SHORT]
    sizes = {}
    for kind in ("auto", "int8", "int4"):
        found = objects(capsys, *words, "--storage", kind, "--compare")
        assert (found["kept_tokens"], found["storage"]) == (64, kind)
        assert found["full"]["cache_bytes"] == found["prompt_tokens"] * 6 * 12 * 2 * 24 * 4
        sizes[kind] = found["cache_bytes"]
    assert sizes["int4"] < sizes["int8"] < sizes["auto"] / 2
    assert "snapkv at 64, int4  " in printed(capsys, *words, "--storage", "int4")


def test_one_token_has_no_decode_time(page: Path, capsys: pytest.CaptureFixture[str]) -> None:
    words = ["answer", page, "Q", "--model", MODEL, "--policy", "fullkv", "--max-new-tokens", 1]
    found = objects(capsys, *words)
    assert found["decode_ms_per_token"] is None
    assert found["budget"] is None
    assert found["full"] is None
    assert "-" in printed(capsys, *words).split()


def test_heads_scores_saves_and_draws_and_answer_finds_the_scores(
    page: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    model = tmp_path / "model"
    shutil.copytree(MODEL, model)
    few = ["--images", 2, "--max-new-tokens", 12, "--batch-size", 2, "--top", 3]
    figure = tmp_path / "made" / "heads.png"
    found = objects(capsys, "heads", "--model", model, *few, "--save", "--figure", figure)
    kept = HeadScores.from_pretrained(model, model="model")
    assert found["saved"] == str(model / "head_scores.parquet")
    assert [(each["layer"], each["head"]) for each in found["top"]] == kept.ranking()[:3]
    tenth = {"fraction": 0.1, "heads": 8, "share": pytest.approx(kept.top_share(0.1))}
    assert tenth in found["shares"]
    assert kept.samples is not None
    made = {"model": "model", "dataset": "generated", "seed": 0, "probe_images": 2, "matching": "stripped"}
    assert made.items() <= kept.metadata.items()
    assert [file.name for file in figure.parent.iterdir()] == ["heads.png"]
    with Image.open(figure) as image:
        assert image.width > 500
    text = printed(capsys, "heads", "--scores", model, "--top", 2)
    assert len([line for line in text.splitlines() if line.endswith(" %")]) == 2
    told = objects(capsys, "answer", page, "Q", "--model", model, "--budget", 40, *SHORT)
    assert 20 < told["kept_tokens"] <= 41


def test_heads_of_a_local_probe_set(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write_synthdog(tmp_path / "probe" / "train.parquet", generate_probe(3, 1))
    out = tmp_path / "scores.parquet"
    rules = ["--matching", "exact", "--convention", "all", "--images", 2, "--max-new-tokens", 12]
    objects(capsys, "heads", "--model", MODEL, "--probe", tmp_path / "probe", *rules, "--save", out)
    made = {"dataset": "synthdog-en-detection", "probe_images": 2, "matching": "exact", "convention": "all"}
    assert made.items() <= HeadScores.load(out).metadata.items()


def test_heads_shows_and_converts_a_published_file(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    values = np.arange(1.0, 7.0).reshape(2, 3)
    given = tmp_path / "given.json"
    HeadScores(values=values).save(given)
    for name in ("out.parquet", "folder/out.json"):
        found = objects(capsys, "heads", "--scores", given, "--save", tmp_path / name)
        assert [each["layer"] * 3 + each["head"] for each in found["top"]] == [5, 4, 3, 2, 1, 0]
        assert HeadScores.load(tmp_path / name).values == pytest.approx(values / values.sum())


@needs_published
def test_audit_of_the_published_scores(capsys: pytest.CaptureFixture[str]) -> None:
    budgets = [256, 512, 1024, 2048]
    words = ["audit", "--scores", PUBLISHED, "--budgets", *budgets, "--prompt-tokens", 2433]
    rows = [row for row in objects(capsys, *words)["rows"] if row["policy"] == "sparsemm"]
    assert [round(row["effective"]) for row in rows] == [241, 388, 561, 777]


def test_audit_groups_heads_as_the_model_does(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    given = tmp_path / "scores.json"
    HeadScores(values=np.ones((2, 8))).save(given)
    config = {"text_config": {"num_attention_heads": 8, "num_key_value_heads": 2}}
    (tmp_path / "config.json").write_text(json.dumps(config), encoding="utf-8")
    words = ["audit", "--scores", given, "--budgets", 64, "--prompt-tokens", 40, 500]
    assert objects(capsys, *words)["kv_heads"] == 8
    assert objects(capsys, *words, "--kv-heads", 4)["kv_heads"] == 4
    found = objects(capsys, *words, "--model", tmp_path)
    assert found["kv_heads"] == 2
    effective = {(row["policy"], row["prompt_tokens"]): row["effective"] for row in found["rows"]}
    assert effective["sparsemm", 500] == effective["snapkv", 500] == 64
    assert effective["fullkv", 500] == 500
    assert effective["sparsemm", 40] == 40
    lines = printed(capsys, *words).splitlines()
    assert len({len(line.split()) for line in lines[1:]}) == 1
