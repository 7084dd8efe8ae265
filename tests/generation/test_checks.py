"""What compress refuses, before anything is computed, and that it leaves the model as it was."""

from __future__ import annotations

import copy
import importlib

import numpy as np
import pytest
import torch
from transformers import DynamicCache, GenerationConfig, StaticCache

from sparsemm import FullKV, HeadScores, SnapKV, SparseMM
from sparsemm.errors import InputError
from sparsemm.generation.compress import compress
from sparsemm.models.head_masks import mask_heads

from helpers import tiny
from helpers.generation import generate
from helpers.oracle import state, used

POLICY = SnapKV(budget=24, window=8)


def test_undone_on_exit_and_after_an_exception(variant):
    model, inputs = used(variant), tiny.inputs()
    plain, _ = generate(model, inputs)
    before = state(model)
    for _ in range(2):
        with compress(model, POLICY) as run, mask_heads(model, [(0, 1)]):
            generate(model, inputs)
            assert state(model) != before
        assert state(model) == before
    kept = run.kept
    with pytest.raises(KeyError), compress(model, FullKV()), mask_heads(model, [(1, 0)]):
        raise KeyError("stop")
    assert state(model) == before
    assert torch.equal(generate(model, inputs)[0], plain)
    assert torch.equal(run.kept, kept)
    assert run.cache is None


def test_what_the_instance_had_comes_back():
    model, inputs = tiny.model("mha"), tiny.inputs()
    calls = []

    def own(*args, **options):
        calls.append(options)
        return type(model).generate(model, *args, **options)

    model.generate = own
    try:
        with compress(model, POLICY) as run:
            model.generate(**inputs, max_new_tokens=2)
        assert (run.kept == 24).all()
        assert len(calls) == 1
        assert vars(model)["generate"] is own
    finally:
        del model.generate


def test_an_error_in_the_prefill_leaves_nothing(variant):
    model, inputs = used(variant), tiny.inputs()
    before = state(model)
    scores = HeadScores(values=np.ones((tiny.LAYERS, tiny.HEADS)))

    class Failing(SparseMM):
        def keep(self, pooled, *, layer, num_layers):
            if layer == 1:
                raise MemoryError("no room")
            return super().keep(pooled, layer=layer, num_layers=num_layers)

    with compress(model, Failing(scores, 24, window=8)) as run:
        with pytest.raises(MemoryError, match="no room"):
            model.generate(**inputs, max_new_tokens=2)
        with pytest.raises(InputError, match="nothing was generated"):
            _ = run.kept
    assert state(model) == before
    with pytest.raises(InputError, match="nothing was generated"):
        _ = run.cache_bytes


def test_an_error_on_the_way_in_leaves_nothing(monkeypatch):
    model = used("gqa")
    before = state(model)
    module = importlib.import_module("sparsemm.generation.compress")  # the name itself is the function
    monkeypatch.setattr(module, "_methods", lambda *_: 1 / 0)
    with pytest.raises(ZeroDivisionError), compress(model, POLICY):
        pass
    monkeypatch.undo()
    assert state(model) == before
    with compress(model, POLICY):
        pass


REFUSED = {
    "beam_search": {"num_beams": 2},
    "beam_sample": {"num_beams": 2, "do_sample": True},
    "group_beam_search": {"num_beams": 2, "num_beam_groups": 2, "diversity_penalty": 0.5},
    "contrastive_search": {"penalty_alpha": 0.6, "top_k": 4},
    "constrained": {"force_words_ids": [[5]], "num_beams": 2},
    "dola": {"dola_layers": "low"},
    "no assistant": {"prompt_lookup_num_tokens": 2},
    "assisted_generation": {"assistant_early_exit": 1},
    "cache_implementation 'static'": {"cache_implementation": "static"},
    "cache_implementation 'paged'": {"cache_implementation": "paged"},
    "cache_implementation 'quantized'": {"cache_implementation": "quantized"},
    "cache_implementation 'offloaded'": {
        "generation_config": GenerationConfig(cache_implementation="offloaded")
    },
    "prefill_chunk_size": {"prefill_chunk_size": 16},
    "use_cache": {"use_cache": False},
    "output_attentions": {"output_attentions": True, "return_dict_in_generate": True},
    "custom_generate": {"custom_generate": lambda model, **_: None},
}


def test_what_cannot_work_says_so_before_anything_is_computed(variant):
    model, inputs = tiny.model(variant), tiny.inputs()
    before = state(model)

    def computed(*_):
        raise AssertionError("something was computed")

    parts = (model, model.model.vision_tower, model.get_input_embeddings())
    hooks = [part.register_forward_pre_hook(computed) for part in parts]
    try:
        with compress(model, POLICY) as run:
            for words, options in REFUSED.items():
                with pytest.raises(InputError, match=words) as caught:
                    model.generate(**inputs, max_new_tokens=2, **options)
                assert "\n" not in str(caught.value)
            with pytest.raises(InputError, match="assisted"):
                model.generate(**inputs, max_new_tokens=2, assistant_model=tiny.model("gqa"))
            text = model.config.get_text_config()
            for cache in (DynamicCache(), StaticCache(config=text, max_cache_len=8)):
                with pytest.raises(InputError, match="outside"):
                    model.generate(**inputs, max_new_tokens=2, past_key_values=cache)
            with pytest.raises(InputError, match="inside"), compress(model, POLICY):
                pass
            with pytest.raises(InputError, match="continuous batching"):
                model.generate_batch([[1, 2]], GenerationConfig(max_new_tokens=2))
            with pytest.raises(InputError, match="nothing was generated"):
                _ = run.kept
    finally:
        for hook in hooks:
            hook.remove()
    assert state(model) == before


def test_a_default_of_the_model_is_refused_too():
    model, inputs = tiny.model("mha"), tiny.inputs()
    model.generation_config.num_beams = 3
    try:
        with compress(model, POLICY), pytest.raises(InputError, match="beam_search"):
            model.generate(**inputs, max_new_tokens=2)
    finally:
        model.generation_config.num_beams = None


def test_later_turns_that_do_not_fit(variant):
    model, inputs = tiny.model(variant), tiny.inputs()
    with compress(model, POLICY) as run:
        first = model.generate(**inputs, max_new_tokens=3, do_sample=False)
        seen = first.shape[1] - 1
        ids = torch.cat([first, torch.ones(1, 2, dtype=torch.long)], 1)
        cases = {
            "holds 1 sequences, 2 are asked": {"input_ids": ids.expand(2, -1)},
            "1 sequences, 3 are": {"input_ids": ids, "num_return_sequences": 3, "do_sample": True},
            f"has seen {seen} tokens, the prompt has 2": {"input_ids": ids[:, -2:]},
            f"the prompt has {seen}": {"inputs": ids[:, :seen]},
        }
        for words, options in cases.items():
            with pytest.raises(InputError, match=words):
                model.generate(**options, past_key_values=run.cache, max_new_tokens=2)


def test_more_tokens_than_reserved(variant):
    """`generate` reserves what it needs; a loop by hand is told."""
    model, inputs = tiny.model(variant), tiny.inputs()
    with compress(model, POLICY) as run, torch.no_grad():
        model.generate(**inputs, max_new_tokens=3, do_sample=False)
        step = torch.ones(1, 1, dtype=torch.long)
        with pytest.raises(InputError, match="room for 2 new tokens, 3 are needed"):
            model(input_ids=step, past_key_values=run.cache, use_cache=True)


def test_caches_of_a_left_compress_are_refused(variant):
    model, inputs = tiny.model(variant), tiny.inputs()
    with compress(model, FullKV()):
        caches = [
            model.generate(**inputs, max_new_tokens=2, return_dict_in_generate=True).past_key_values
            for _ in range(2)
        ]
        caches.append(copy.deepcopy(caches[0]))
    ids = torch.cat([inputs["input_ids"], torch.ones(1, 2, dtype=torch.long)], 1)
    for cache in caches:
        with pytest.raises(InputError, match="inside compress"):
            model.generate(input_ids=ids, past_key_values=cache, max_new_tokens=2)
        with compress(model, FullKV()), pytest.raises(InputError, match="outside"):
            model.generate(input_ids=ids, past_key_values=cache, max_new_tokens=2)


def test_models_and_policies_that_cannot_work():
    model = copy.deepcopy(tiny.model("gqa"))
    for wrong, policy, words in (
        (torch.compile(model), POLICY, "OptimizedModule; give the transformers model itself"),
        (torch.nn.DataParallel(model), POLICY, "DataParallel; give the transformers model"),
        (model, "snapkv", "policy 'snapkv' is no policy"),
        (model, SparseMM(np.full((tiny.LAYERS, 5), 1 / (5 * tiny.LAYERS)), 24, window=8), "scores of shape"),
        (model, SparseMM(np.full((2, 6), 1 / 12), 24, window=8), r"needs \(3, 2\) or \(3, 6\)"),
        (model, SparseMM([[1 / 6] * 6], 24, window=8), r"scores of shape \(1, 6\)"),
    ):
        before = state(model)
        with pytest.raises(InputError, match=words) as caught, compress(wrong, policy):
            pass
        assert "\n" not in str(caught.value)
        assert state(model) == before
    text = model.config.text_config
    text.sliding_window = 16
    with pytest.raises(InputError, match="sliding"), compress(model, FullKV()):
        pass
    text.sliding_window = None
    with compress(model, FullKV()):
        pass
    model.model.language_model.compile()
    with pytest.raises(InputError, match="compiled"), compress(model, FullKV()):
        pass


def test_scores_of_another_model_are_refused_unless_told(monkeypatch):
    model = tiny.model("gqa")
    values = np.ones((tiny.LAYERS, tiny.HEADS))
    others = SparseMM(HeadScores(values=values, metadata={"model": "vicuna-7b"}), 24, window=8)
    with compress(model, others):  # a model made in memory has no name to compare
        pass
    monkeypatch.setattr(model, "name_or_path", "data/models/mistral-7b/")
    with pytest.raises(InputError, match="'vicuna-7b', this is 'mistral-7b'"), compress(model, others):
        pass
    for policy in (
        SparseMM(HeadScores(values=values, metadata={"model": "org/mistral-7b"}), 24, window=8),
        SparseMM(HeadScores(values=values), 24, window=8),
        SparseMM(values / values.sum(), 24, window=8),
    ):
        with compress(model, policy):
            pass
    with compress(model, others, any_scores=True):
        pass
