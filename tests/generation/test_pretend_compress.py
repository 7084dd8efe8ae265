"""compress() and its parts on a pretend CUDA device (tests/pretend): the same results as on the CPU."""

from __future__ import annotations

import pytest
import torch

from sparsemm import LocalWindow, RandomHeads, SnapKV, SparseMM, allocate, pooled_attention, select
from sparsemm.cache.attention import ragged_attention_in
from sparsemm.documents.pages import READ_PROMPT
from sparsemm.errors import InputError
from sparsemm.evaluation.engine.run import run_cells
from sparsemm.generation.compress import compress
from sparsemm.generation.greedy import GreedyLoop
from sparsemm.generation.prefill import prefill
from sparsemm.heads.probe import ProbeImage
from sparsemm.heads.scoring import score_samples
from sparsemm.heads.settings import ScoringSettings
from sparsemm.models.head_masks import mask_heads

from helpers import tiny
from helpers.tiny_families import tiny_family
from pretend.models import FAMILIES, here, moved, policy, prompt, there

TWO = ((60, 40), (20, 64))  # of two lengths: a padded batch
NEW = 3


def turns(model, chosen, inputs, **options):
    """Greedy, sampled, and a second turn on the first one's cache: ids and kept tokens, on the host."""
    found = []
    with compress(model, chosen, **options) as run:
        for sample in (True, False):
            torch.manual_seed(0)
            first = model.generate(
                **inputs, max_new_tokens=NEW, do_sample=sample, return_dict_in_generate=True
            )
            found += [first.sequences, run.kept]
        more = torch.tensor([[30, 41]], device=model.device).expand(len(first.sequences), 2)
        ids = torch.cat([first.sequences, more], 1)
        mask = torch.cat(
            [inputs["attention_mask"], torch.ones_like(ids[:, inputs["input_ids"].shape[1] :])], 1
        )
        found.append(
            model.generate(
                input_ids=ids,
                attention_mask=mask,
                past_key_values=first.past_key_values,
                max_new_tokens=NEW,
                do_sample=False,
            )
        )
        sizes = (run.cache_bytes, len(found))
    return [tensor.cpu() for tensor in found], sizes


@pytest.mark.parametrize("graph", [True, False])
@pytest.mark.parametrize("family", ["llava_next-mistral", "qwen2_vl"])
def test_generate_is_that_of_the_cpu(family, graph, cuda):
    for method in ("sparsemm", "fullkv")[: 2 if graph and family == "qwen2_vl" else 1]:
        chosen = policy(method, here(family))
        expected, sizes = turns(here(family), chosen, prompt(family, TWO))
        launches = cuda.launches
        found, ours = turns(moved(family), chosen, there(prompt(family, TWO)), cuda_graph=graph)
        assert cuda.launches > launches
        assert ours == sizes
        assert all(torch.equal(a, b) for a, b in zip(expected, found))


METHODS = ("fullkv", "snapkv", "adakv", "pyramidkv", "sparsemm")


def policies(model):
    scores = policy("sparsemm", model).scores
    more = [RandomHeads(16, window=8), LocalWindow(16), SparseMM(scores, 24, waterfill=True, window=8)]
    return [policy(method, model) for method in METHODS] + more


@pytest.mark.parametrize("storage", ["torch", "int8", "int4"])
def test_other_storages(storage, cuda):
    model, inputs = here("llava_next-mistral"), prompt("llava_next-mistral", TWO)
    expected, sizes = turns(model, SnapKV(16, window=8), inputs, storage=storage)
    moved_model = moved("llava_next-mistral")
    found, ours = turns(moved_model, SnapKV(16, window=8), there(inputs), storage=storage)
    assert ours == sizes
    assert all(torch.equal(a, b) for a, b in zip(expected, found))


def test_every_policy_keeps_the_same(cuda):
    """Pooled attention, a policy's counts and the selection, with and without pads."""
    torch.manual_seed(0)
    query, key = torch.randn(2, 4, 40, 8), torch.randn(2, 2, 40, 8)
    pads = torch.ones(2, 40, dtype=torch.bool)
    pads[1, :5] = False
    for valid in (None, pads):
        for each in policies(here("llava_next-mistral")):
            kept = []
            for place in ("cpu", "cuda"):
                q, k, v = (None if x is None else x.to(place) for x in (query, key, valid))
                pooled = pooled_attention(q, k, window=each.window, kernel=each.kernel, valid=v)
                keep = each.keep(pooled, layer=1, num_layers=2)
                kept.append(select(pooled, keep, window=each.window, valid=v, tokens=40).cpu())
            assert torch.equal(*kept)
    shares = policy("sparsemm", here("llava_next-mistral")).scores
    there_too = torch.from_numpy(shares).to("cuda")
    assert torch.equal(allocate(there_too, 24, window=8).cpu(), allocate(shares, 24, window=8))


@pytest.mark.parametrize("family", FAMILIES)
def test_the_engine_and_its_rows(family, cuda):
    cells = policies(here(family))
    expected = run_cells(here(family), prompt(family, TWO), cells, max_new_tokens=NEW, stop=())
    stop = {expected.tokens[0][0][1]}  # a row that ends early leaves the batch
    expected = run_cells(here(family), prompt(family, TWO), cells, max_new_tokens=NEW, stop=stop)
    found = run_cells(moved(family), there(prompt(family, TWO)), cells, max_new_tokens=NEW, stop=stop)
    assert found.tokens == expected.tokens
    assert torch.equal(found.kept, expected.kept)
    assert found.rows == expected.rows


def test_masked_heads_and_recorded_attention(cuda):
    family = "llava_next-mistral"
    answers, hits = [], []
    page = tiny.image(60, 40)
    probe = [ProbeImage("0", page, list("abcdefghijklmnopqrstuvwxyz "), [(0.0, 0.0, 60.0, 40.0)] * 27)]
    for model, inputs in ((here(family), prompt(family)), (moved(family), there(prompt(family)))):
        with mask_heads(model, [(0, 1), (1, 5)]), compress(model, SnapKV(16, window=8)):
            answers.append(model.generate(**inputs, max_new_tokens=NEW, do_sample=False).cpu())
        settings = ScoringSettings(READ_PROMPT, 8, 2, "all", "stripped", progress=False)
        hits.append(score_samples(model, tiny_family(family)[1], probe, settings))
    assert torch.equal(*answers)
    assert hits[0].hits.tolist() == hits[1].hits.tolist()
    assert hits[0].matched.tolist() == hits[1].matched.tolist()


@torch.no_grad()
def test_a_prefill_makes_nothing_quadratic(cuda):
    """Compressed, it peaks lower than with the full cache, and no tensor has T x T elements."""
    family = "llava_next-mistral"
    model = moved(family)
    words = torch.arange(600, device="cuda")[None] % 40 + 20
    inputs = there(prompt(family))
    inputs["input_ids"] = torch.cat([inputs["input_ids"], words], 1)
    total = inputs["input_ids"].shape[1]
    inputs.pop("attention_mask")
    peaks = {}
    for method in METHODS:
        with ragged_attention_in(model):
            torch.cuda.reset_peak_memory_stats()
            before = torch.cuda.memory_allocated()
            cache, *_ = prefill(model, inputs, policy(method, model), 4)
            peaks[method] = torch.cuda.max_memory_allocated() - before
        text = model.config.get_text_config()
        widest = max(text.intermediate_size, text.vocab_size, 8 * text.num_attention_heads)
        assert cuda.largest <= total * widest < total * total
        del cache
    assert all(peaks[method] < peaks["fullkv"] for method in METHODS[1:]), peaks


@torch.no_grad()
def test_caches_and_graphs_are_freed_with_their_last_reference(cuda, no_collector):
    """Two full caches may not fit on a GPU, so that memory may not wait for the garbage collector."""
    family = "llava_next-mistral"  # Qwen's model keeps a tensor of the newest prompt
    model, inputs = moved(family), there(prompt(family))
    before = torch.cuda.memory_allocated()
    with ragged_attention_in(model):
        for graph in (True, False):
            loop = GreedyLoop(model, *prefill(model, inputs, SnapKV(16, window=8), 4), graph=graph)
            loop.run(1)
            del loop
            assert torch.cuda.memory_allocated() == before
    with compress(model, SnapKV(16, window=8), cuda_graph=True) as run:
        held = []
        for _ in range(2):
            model.generate(**inputs, max_new_tokens=2, do_sample=False)
            held.append(torch.cuda.memory_allocated())
        assert held[0] == held[1]
    del run
    assert torch.cuda.memory_allocated() == before


def test_a_graph_needs_one_device(cuda):
    model = moved("llava_next-mistral")
    layers = model.get_decoder().layers
    there = layers[1]
    try:
        layers[1] = here("llava_next-mistral").get_decoder().layers[1]
        refused = pytest.raises(InputError, match="needs the model on one device")
        with refused, compress(model, SnapKV(16, window=8), cuda_graph=True):
            pass
    finally:
        layers[1] = there
