"""What a pack leaves out, and why: hundreds of MiB that no flow of this project needs."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from packaging.utils import canonicalize_name

FLASHINFER = "vLLM brings FlashAttention; from 0.21 on it samples with FlashInfer unless VLLM_USE_FLASHINFER_SAMPLER=0"
CUTLASS = "compiles kernels for Blackwell GPUs, imported where they are used"
COMMAND_LINE = "of FastAPI's command line, which no server here is started with"

DISTRIBUTIONS: Mapping[str, str] = {
    "cuda-tile": CUTLASS,
    "fastapi-cloud-cli": COMMAND_LINE,
    "flashinfer-cubin": FLASHINFER,
    "flashinfer-jit-cache": FLASHINFER,
    "flashinfer-python": FLASHINFER,
    "humming-kernels": "quantised kernels, imported where a model is quantised so",
    "nvidia-cudnn-frontend": "used through FlashInfer",
    "nvidia-cutlass-dsl": CUTLASS,
    "nvidia-cutlass-dsl-libs-base": CUTLASS,
    "nvidia-cutlass-dsl-libs-core": CUTLASS,
    "nvidia-cutlass-dsl-libs-cu12": CUTLASS,
    "nvidia-cutlass-dsl-libs-cu13": CUTLASS,
    "pynvvideocodec": "decodes video",
    "quack-kernels": CUTLASS,
    "rignore": COMMAND_LINE,
    "sentry-sdk": COMMAND_LINE,
    "supervisor": "restarts servers on Amazon SageMaker",
    "tilelang": "compiles kernels of sparse attention models, imported where they are used",
    "tokenspeed-mla": "kernels of latent attention, imported where they are used",
    "torch-c-dlpack-ext": "speeds up the exchange of tensors with CUTLASS; torch does without",
    "torchcodec": "decodes sound and video",
    "z3-solver": "used by tilelang",
}
"""By the distribution's normalised name."""

PATHS: Mapping[str, str] = {
    "bin": "scripts that begin with the path of the packing machine's Python; python -m does the same",
    "mistral_common/data": "vocabularies of Mistral's own models, read where such a model is loaded",
    "pycountry/locales": "names of countries in other languages",
    "ray/cpp": "Ray for C++",
    "ray/jars": "Ray for Java",
    "ray/rllib": "Ray's reinforcement learning library, imported only by its users",
    "vllm/vllm_flash_attn/_vllm_fa2_C.abi3.so": "FlashAttention 2, which GPUs before Hopper need; keep it for those",
    "xgrammar/lib": "for linking programs in C++; Python uses libxgrammar_bindings.so",
}
"""By the path in the folder that distributions are installed into."""


class OmissionError(ValueError):
    """What is to be left out or kept cannot be; says why."""


@dataclass(frozen=True)
class Omissions:
    """What is left out. Keys are as in :data:`DISTRIBUTIONS` and :data:`PATHS`, values are reasons."""

    distributions: Mapping[str, str]
    paths: Mapping[str, str]

    @classmethod
    def choose(cls, drop: Iterable[str] = (), keep: Iterable[str] = ()) -> Omissions:
        """Leave out what is recorded here and ``drop``, without ``keep``. A name with a slash is a path.

        Raises:
            OmissionError: a name in ``keep`` is not left out anyway, or a path leads elsewhere.
        """
        distributions, paths = dict(DISTRIBUTIONS), dict(PATHS)
        for name in keep:
            if distributions.pop(canonicalize_name(name), None) is None and paths.pop(name.strip("/"), None) is None:
                known = ", ".join([*DISTRIBUTIONS, *PATHS])
                raise OmissionError(f"--keep: {name!r} is not left out: what is left out is {known}")
        for name in drop:
            if "/" in name:
                if name.startswith("/") or ".." in name.split("/"):
                    raise OmissionError(f"--drop: {name!r} is not a path such as ray/rllib")
                paths[name.strip("/")] = "left out with --drop"
            else:
                distributions[canonicalize_name(name)] = "left out with --drop"
        return cls(distributions, paths)
