"""vLLM's CPU platform, plus what Ray needs to place its workers.

Runs inside the environment under test, with whatever Python and vLLM that has.
"""

from __future__ import annotations

import os
from typing import Any

from vllm.platforms.cpu import CpuPlatform

START_METHOD = "VLLM_WORKER_MULTIPROC_METHOD"


def restore(name: str, value: str | None) -> None:
    """Give an environment variable the value that it had."""
    if value is None:
        os.environ.pop(name, None)
    else:
        os.environ[name] = value


class RayCpuPlatform(CpuPlatform):  # type: ignore[misc]  # vLLM's class is untyped here
    """CPU kernels on Ray nodes that declare GPUs which do not exist.

    Stock vLLM refuses (``current platform cpu does not support ray``, vllm/v1/executor/ray_utils.py) because its CPU
    platform names no Ray resource. The executors, placement groups and actors are vLLM's own and unchanged.
    """

    ray_device_key = "GPU"

    @classmethod
    def check_and_update_config(cls, vllm_config: Any) -> None:
        """Apply vLLM's CPU settings, and restore ``ray`` where that version quietly replaces it with ``mp``.

        vLLM up to about 0.10 rewrites every distributed executor to ``mp`` on a CPU (vllm/platforms/cpu.py).
        """
        parallel_config = vllm_config.parallel_config
        wanted = parallel_config.distributed_executor_backend
        method = os.environ.get(START_METHOD)
        super().check_and_update_config(vllm_config)
        if wanted == "ray":
            # its workers compute, not its engine process; so that may be forked as it is where there are GPUs, and need
            # not import vLLM anew. vLLM spawns on a CPU for the sake of OpenMP (vllm/platforms/cpu.py)
            restore(START_METHOD, method)
        if wanted == "ray" and parallel_config.distributed_executor_backend != "ray":
            parallel_config.distributed_executor_backend = "ray"
