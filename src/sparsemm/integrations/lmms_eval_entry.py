"""What lmms-eval finds through the entry point group `lmms_eval.models`: our model by name, without importing it."""

from __future__ import annotations

from typing import Any


def manifest() -> Any:
    """The `ModelManifest` of `--model sparsemm` (lmms-eval 0.7, models/registry_v2.py)."""
    from lmms_eval.models.registry_v2 import ModelManifest

    return ModelManifest(
        model_id="sparsemm", chat_class_path="sparsemm.integrations.lmms_eval.CompressedChat"
    )
