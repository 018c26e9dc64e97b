"""Two Python threads, a forked process and 1 or 64 threads of torch get what one caller gets."""

import os
import subprocess
import sys
import threading

import pytest
import torch

import perception.ops as ops
from tests.ops.samples import OPS, Sample, samples

pytestmark = pytest.mark.skipif(
    ops.backend() != "native", reason="torch's own sums depend on its threads"
)
SAMPLES = samples(5, (30, 33), 200, 72)  # enough for several threads
KINDS = [torch.float32, torch.bfloat16]


def everything(sample: Sample) -> list[torch.Tensor]:
    """Results and gradients of a sample in both layouts and two dtypes."""
    found: list[torch.Tensor] = []
    for layout in (torch.contiguous_format, torch.channels_last):
        for kind in KINDS:
            inputs = [x.float() for x in sample.inputs]
            inputs[: sample.maps] = [
                x.to(kind).contiguous(memory_format=layout) for x in inputs[: sample.maps]
            ]
            inputs = [x.requires_grad_(sample.differentiable) for x in inputs]
            out = sample.run(*inputs)
            found += out
            if sample.differentiable:
                above = torch.linspace(-1, 1, out[0].numel(), dtype=out[0].dtype)
                found += torch.autograd.grad(out[0], inputs, above.view_as(out[0]))
    return found


def test_every_op_is_among_the_calls():
    assert sorted({name.split()[0] for name in SAMPLES}) == OPS


@pytest.mark.parametrize("name", SAMPLES)
def test_any_number_of_threads_gives_the_same_bits(name):
    before, results = torch.get_num_threads(), []
    try:
        for threads in (1, 2, 64):
            torch.set_num_threads(threads)
            results.append(everything(SAMPLES[name]))
    finally:
        torch.set_num_threads(before)

    for other in results[1:]:
        assert all(torch.equal(a, b) for a, b in zip(results[0], other, strict=True))


def test_two_python_threads_calling_at_once_get_what_one_gets():
    expected = {name: everything(sample) for name, sample in SAMPLES.items()}
    found: list[tuple[str, list[torch.Tensor]]] = []

    def work() -> None:
        found.extend((name, everything(sample)) for name, sample in SAMPLES.items())

    workers = [threading.Thread(target=work) for _ in range(2)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()

    assert len(found) == 2 * len(SAMPLES)
    for name, results in found:
        assert all(torch.equal(a, b) for a, b in zip(results, expected[name], strict=True)), name


FORK = """
import os, torch
from tests.ops.samples import samples
from tests.ops.test_concurrent_calls import everything
torch.set_num_threads(2)
calls = samples(5, (20, 22), 60).values()  # too small for torch's own threads, which hang here
expected = [everything(each) for each in calls]          # starts the thread pool
child = os.fork()
if child == 0:
    same = all(torch.equal(a, b) for each, before in zip(calls, expected, strict=True)
               for a, b in zip(everything(each), before, strict=True))
    os._exit(0 if same else 3)
assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
"""


def test_a_forked_process_gets_what_its_parent_gets():
    environment = {**os.environ, "OMP_NUM_THREADS": "2", "PYTHONPATH": os.pathsep.join(sys.path)}
    subprocess.run([sys.executable, "-c", FORK], env=environment, check=True, timeout=300)
