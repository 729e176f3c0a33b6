from __future__ import annotations

from pytest_raycompat.machine import cpu_model, describe_machine


def test_the_model_is_found_where_the_kernel_says_it() -> None:
    text = "processor\t: 0\nmodel\t\t: 85\nmodel name\t: Intel(R) Xeon(R) CPU @ 2.00GHz\n"
    assert cpu_model(text) == "Intel(R) Xeon(R) CPU @ 2.00GHz"
    assert cpu_model("processor : 0\nCPU implementer : 0x41\n") is None


def test_this_machine() -> None:
    machine = describe_machine()
    assert machine.cpu
    assert machine.cpus >= 1
    assert machine.memory_gb > 0
