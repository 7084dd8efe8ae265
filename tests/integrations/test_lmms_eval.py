"""The real lmms-eval, without what its own models need, finds our model by name and gets its answers."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from importlib.metadata import entry_points
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
# lmms-eval with the imports of its model interface; all it requires (torchvision among them) is gigabytes.
PACKAGES = ("lmms-eval==0.7.3", "loguru==0.7.3", "pytz==2026.6")
SCRIPT = """
import json, random, sys
import torch
from lmms_eval.api.instance import Instance
from lmms_eval.models import get_model, get_model_manifest
from lmms_eval.models.model_utils.gen_metrics import get_logged_metrics_history
from lmms_eval.protocol import ChatMessages
from sparsemm import HeadScores, InputError
from sparsemm.documents.pages import generate_document
from sparsemm.generation.compress import compress
from sparsemm.models import build_inputs
from sparsemm.policies import make_policy

MODEL, SCORES = sys.argv[1:]
pages = [generate_document(random.Random(f"lmms-{number}"), split="eval") for number in range(3)]
documents = [{"page": page.image, "question": page.question(page.lines[0])} for page in pages]

def messages(document):
    content = [{"type": "image", "url": document["page"]}, {"type": "text", "text": document["question"]}]
    made = [{"role": "user", "content": content}]
    assert ChatMessages(messages=made).extract_media()[0] == [document["page"]]
    return made

def asked(number, options):
    about = {"task": "pages", "doc_id": number, "repeats": 1}
    arguments = (documents[number]["question"], messages, options, number, "pages", "test")
    return Instance("generate_until", arguments, number, about)

short, long = {"max_new_tokens": 4, "until": ["\\n"]}, {"max_new_tokens": 12, "temperature": 0, "until": "\\n"}
requests = [asked(0, short), asked(1, long), asked(2, short), asked(0, long)]
said = {}
for policy, size in (("fullkv", 2), ("sparsemm[rho=0.1]", 2), ("sparsemm[rho=0.1]", 1)):
    arguments = f"pretrained={MODEL},policy={policy},budget=48,window=8,scores={SCORES},dtype=float32"
    made = get_model("sparsemm").create_from_arg_string(arguments, {"batch_size": size, "device": "cpu"})
    made.task_dict = {"pages": {"test": documents}}
    said[f"{policy} {size}"] = [
        [each.text, each.token_counts.input_tokens, each.token_counts.output_tokens]
        for each in made.generate_until(requests)
    ]
for bad in ("policy=sparsemm[rho=0.3],window=8", "policy=snapkv,budgets=8"):
    try:
        get_model("sparsemm").create_from_arg_string(f"pretrained={MODEL},{bad}", {"device": "cpu"})
    except InputError as error:
        assert "scores" in str(error) or "budgets is not known" in str(error), error
    else:
        raise AssertionError(bad)
plain = []
for label in ("fullkv", "sparsemm[rho=0.1]"):
    policy = make_policy(label, budget=48, window=8, scores=HeadScores.load(SCORES))
    for request in requests:
        document = documents[request.args[3]]
        inputs = build_inputs(made.loaded, [document["page"]], [document["question"]])
        with torch.no_grad(), compress(made.loaded.model, policy) as run:
            limit = request.args[2]["max_new_tokens"]
            out = made.loaded.model.generate(**inputs, max_new_tokens=limit, do_sample=False)
        text = made.loaded.processor.tokenizer.decode(out[0, inputs["input_ids"].shape[1]:], skip_special_tokens=True)
        plain.append(text.partition("\\n")[0].strip())
print(json.dumps({
    "said": said, "plain": plain, "chat": get_model_manifest("sparsemm").chat_class_path,
    "metrics": get_logged_metrics_history(), "truth": [page.lines[0].value for page in pages],
}))
"""


@pytest.fixture(scope="module")
def packages(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with lmms-eval alone."""
    folder = tmp_path_factory.mktemp("lmms-eval")
    done = subprocess.run(
        [sys.executable, "-m", "pip", "install", "-qq", "--no-deps", "--target", str(folder), *PACKAGES],
        capture_output=True,
        text=True,
    )
    if done.returncode != 0:
        pytest.skip(f"lmms-eval cannot be installed: {done.stderr.strip().splitlines()[-1]}")
    return folder


@pytest.mark.long
def test_lmms_eval_finds_the_model_and_gets_the_answers_of_generate(packages: Path) -> None:
    from sparsemm.heads import HeadScores

    assert "sparsemm" in {point.name for point in entry_points(group="lmms_eval.models")}
    scores = packages / "scores.json"
    model = ROOT / "data/models/tiny-llava-next-vicuna"
    drawn = {f"{layer}-{head}": [1.0 + layer * head] for layer in range(6) for head in range(12)}
    scores.write_text(json.dumps(drawn), encoding="utf-8")
    assert HeadScores.load(scores).values.shape == (6, 12)
    path = os.pathsep.join([str(packages), str(ROOT / "src"), os.environ.get("PYTHONPATH", "")])
    done = subprocess.run(
        [sys.executable, "-c", SCRIPT, str(model), str(scores)],
        env={**os.environ, "PYTHONPATH": path},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr[-3000:]
    found = json.loads(done.stdout.splitlines()[-1])
    assert found["chat"] == "sparsemm.integrations.lmms_eval.CompressedChat"
    full, together, alone = (
        found["said"][name] for name in ("fullkv 2", "sparsemm[rho=0.1] 2", "sparsemm[rho=0.1] 1")
    )
    assert [text for text, _, _ in full + alone] == found["plain"]
    assert together == alone
    assert full[1][0] == found["truth"][1]
    assert all(300 < row[1] < 600 and 0 < row[2] <= 12 for row in full)
    assert full[0][2] <= 4
    whole, small, _ = (each["cache_mib_a_prompt"] for each in found["metrics"])
    assert 0 < small < whole / 4
