"""How long the jobs will take, by a roofline with stated constants: an estimate, never a measurement."""

from __future__ import annotations

from dataclasses import dataclass

from sparsemm.preflight.machine import Machine
from sparsemm.preflight.sizes import ModelSizes

# Dense 16-bit TFLOPS and memory GB/s by the vendor, for GPUs whose name contains the key.
GPUS = {
    "H200": (989.0, 4800.0),
    "H100": (989.0, 3350.0),
    "A100": (312.0, 2039.0),
    "L40S": (362.0, 864.0),
    "A6000": (155.0, 768.0),
    "4090": (165.0, 1008.0),
    "A10": (125.0, 600.0),
    "V100": (125.0, 900.0),
}
ASSUMED = "A100"
CORE_FLOPS, CPU_BANDWIDTH = 50e9, 10e9  # of one core at float32, of a machine
PREFILL_SHARE, DECODE_SHARE = 0.4, 0.6  # of the vendor's numbers that is assumed to be reached
LAYER_S = {"cuda": 0.0006, "cpu": 0.0003}  # launches of one layer in one decode step
IMAGE_S, DRAWN_S = 0.2, 0.02  # reading an image and the processor's work; of a small drawn document
START_S, LOAD_BYTES_S = 15.0, 1e9  # imports of a job; reading its weights
ANSWER = 32  # tokens of a decoded answer, where it may be longer


@dataclass(frozen=True)
class Speed:
    """What the roofline assumes: name of the device, its kind, FLOPS and bytes a second that are reached."""

    name: str
    kind: str
    flops: float
    bandwidth: float

    @property
    def says(self) -> str:
        """The constants in a sentence."""
        return (
            f"{self.name}: prefill at {self.flops / 1e12:.3g} TFLOPS, decode at {self.bandwidth / 1e9:.4g} GB/s, "
            f"{1000 * LAYER_S[self.kind]:.1f} ms a layer and step of launches, {IMAGE_S} s an image before the model "
            f"({DRAWN_S} s a drawn one), "
            f"answers of at most {ANSWER} tokens, {START_S:.0f} s a job and {LOAD_BYTES_S / 1e9:.0f} GB/s for weights"
        )


def speed_of(machine: Machine, device: str) -> Speed:
    """The roofline of this machine's first GPU, of an assumed one where none is visible, or of its CPU.

    Args:
        machine: with its GPUs.
        device: "cpu" or "cuda".
    """
    if device == "cpu":
        cores = min(machine.cores, 2)  # of a job
        return Speed(f"CPU, {cores} cores a job", "cpu", cores * CORE_FLOPS, CPU_BANDWIDTH)
    name = machine.gpus[0].name if machine.gpus else ""
    known = next((key for key in GPUS if key in name), None)
    tflops, gb_s = GPUS[known or ASSUMED]
    shown = name if known else f"{ASSUMED} (assumed, {name or 'no GPU is visible here'})"
    return Speed(shown, "cuda", tflops * 1e12 * PREFILL_SHARE, gb_s * 1e9 * DECODE_SHARE)


def prefill_s(sizes: ModelSizes, tokens: int, speed: Speed) -> float:
    """Seconds of one prefill, the vision tower included; not what is done to the image before."""
    patches = tokens * sizes.merge**2
    attention = 2 * sizes.layers * sizes.heads * sizes.head_dim * tokens**2
    vision = 2 * sizes.vision_weights * patches
    if not sizes.tile:  # all patches of an image attend to each other
        vision += 4 * sizes.vision_layers * sizes.vision_hidden * patches**2
    return (2 * sizes.text_weights * tokens + attention + vision) / speed.flops


def step_s(sizes: ModelSizes, element: int, tokens: int, rows: int, speed: Speed) -> float:
    """Seconds of one decode step of a prompt's rows, which share its K and V."""
    weights = sizes.text_weights + sizes.hidden * sizes.vocabulary
    moved = weights * element + tokens * sizes.kv_bytes(element)
    attention = 4 * sizes.layers * sizes.heads * sizes.head_dim * tokens
    computed = rows * (2 * weights + attention)
    return max(moved / speed.bandwidth, computed / speed.flops) + sizes.layers * LAYER_S[speed.kind]


def start_s(weight_bytes: int) -> float:
    """Seconds before a job's first row."""
    return START_S + weight_bytes / LOAD_BYTES_S
