"""The stand-in for CuPy computes what CUDA would, and refuses what CuPy or CUDA would refuse."""

from __future__ import annotations

import sys
from collections.abc import Callable
from types import ModuleType
from typing import Any

import emulator
import numpy as np
import pytest

from arrayrefine.kernels import backend

CODE = """
extern "C" __global__ void twice(const float* __restrict__ x, float* __restrict__ y, int n) {
  const int i = blockIdx.x * blockDim.x + threadIdx.x;
  if (i < n) y[i] = 2.0f * x[i];
}

extern "C" __global__ void sums(const double* x, double* y, int n) {
  __shared__ double part[8];
  const int i = blockIdx.x * blockDim.x + threadIdx.x, lane = threadIdx.x & 31, warp = threadIdx.x >> 5;
  double v = i < n ? x[i] : 0.0;
  for (int d = 16; d; d >>= 1) v += __shfl_down_sync(0xffffffffu, v, d);
  if (lane == 0) part[warp] = v;
  __syncthreads();
  if (threadIdx.x == 0) {
    double s = 0.0;
    for (int w = 0; w < (int)blockDim.x / 32; w++) s += part[w];
    y[blockIdx.x] = s;
  }
}

extern "C" __global__ void backwards(int* x) {
  extern __shared__ int copy[];
  copy[threadIdx.x] = x[threadIdx.x];
  __syncthreads();
  x[threadIdx.x] = copy[blockDim.x - 1 - threadIdx.x];
}

extern "C" __global__ void unguarded(int* x) {
  extern __shared__ int copy[];
  copy[threadIdx.x] = x[threadIdx.x];
  x[threadIdx.x] = copy[blockDim.x - 1 - threadIdx.x];
}

extern "C" __global__ void votes(unsigned* out, int* count) {
  const int lane = threadIdx.x;
  out[lane] = __ballot_sync(0xffffffffu, lane % 3 == 0);
  if (lane < 16) out[lane] += (unsigned)__shfl_xor_sync(0x0000ffffu, lane, 1);
  atomicAdd(count, lane);
  if (__syncthreads_count(lane < 5) == 5 && lane == 0) atomicMax(count, 1000);
}

extern "C" __global__ void beyond(float* x, int i) { x[i] = 1.0f; }

extern "C" __global__ void stuck(int* x) {
  if (threadIdx.x == 3) __syncthreads();
  else x[threadIdx.x] = __shfl_sync(0xffffffffu, 1, 3);
}

struct Pair { float a; int b; };
extern "C" __global__ void types(const float2* z, long long n, double d, const unsigned char* c, Pair p, float* out) {
  out[0] = z[1].y + (float)n + (float)d + c[0] + p.a + p.b;
}
"""


@pytest.fixture
def kernel(emulated_cuda: ModuleType) -> Callable[[str], Any]:
    return emulated_cuda.RawModule(code=CODE, options=("-std=c++17",)).get_function


def test_threads_and_scalars(emulated_cuda: ModuleType, kernel: Callable[[str], Any]) -> None:
    x = emulated_cuda.asarray(np.arange(1000, dtype=np.float32))
    y = emulated_cuda.empty_like(x)
    kernel("twice")((8,), (128,), (x, y, np.int32(999)))
    assert np.array_equal(y.get()[:999], 2 * np.arange(999))
    assert np.isnan(y.get()[999])  # never written


def test_barriers_and_shuffles(emulated_cuda: ModuleType, kernel: Callable[[str], Any]) -> None:
    x = np.random.default_rng(0).normal(size=1000)
    y = emulated_cuda.zeros(4)
    kernel("sums")((4,), (256,), (emulated_cuda.asarray(x), y, np.int32(1000)))
    assert np.allclose(y.get(), [x[i : i + 256].sum() for i in range(0, 1000, 256)], rtol=1e-14)


@pytest.mark.parametrize("reverse", [False, True])
def test_dynamic_shared_memory(emulated_cuda: ModuleType, kernel: Callable[[str], Any], reverse: bool) -> None:
    x = emulated_cuda.arange(100, dtype=np.int32)
    if reverse:
        with emulator.reversed_order():
            kernel("backwards")((1,), (100,), (x,), shared_mem=400)
    else:
        kernel("backwards")((1,), (100,), (x,), shared_mem=400)
    assert np.array_equal(x.get(), np.arange(100)[::-1])


def test_missing_barrier_shows(emulated_cuda: ModuleType, kernel: Callable[[str], Any]) -> None:
    x = emulated_cuda.arange(100, dtype=np.int32)
    kernel("unguarded")((1,), (100,), (x,), shared_mem=400)
    assert (x.get() == -1).any()  # shared memory that no thread had written yet


def test_votes_and_integer_atomics(emulated_cuda: ModuleType, kernel: Callable[[str], Any]) -> None:
    out, count = emulated_cuda.zeros(32, np.uint32), emulated_cuda.zeros(1, np.int32)
    kernel("votes")((1,), (32,), (out, count))
    ballot = sum(1 << i for i in range(0, 32, 3))
    assert out.get().tolist() == [ballot + (i ^ 1 if i < 16 else 0) for i in range(32)]
    assert count.get()[0] == 1000


def test_kinds_of_arguments(emulated_cuda: ModuleType, kernel: Callable[[str], Any]) -> None:
    z = emulated_cuda.asarray(np.array([0, 1 + 2j], np.complex64))
    pair = np.array((4.0, 5), [("a", "f4"), ("b", "i4")])
    out = emulated_cuda.zeros(1, np.float32)
    args = (z, np.int64(10), np.float64(0.5), emulated_cuda.full(1, 3, np.uint8), pair, out)
    kernel("types")((1,), (1,), args)
    assert float(out[0]) == 24.5


@pytest.mark.parametrize(
    ("change", "error", "text"),
    [
        ({2: 999}, TypeError, "NumPy scalars"),
        ({2: np.int64(999)}, TypeError, "int64"),
        ({2: np.float32(999)}, TypeError, "float32"),
        ({0: np.zeros(4, np.float32)}, TypeError, "not a device array"),
        ({0: "float64"}, TypeError, "float64"),
        ({0: "strided"}, ValueError, "not C-contiguous"),
        ({0: None}, TypeError, "null pointer"),
        ({3: np.int32(1)}, TypeError, "takes 3 arguments"),
    ],
)
def test_wrong_arguments(
    emulated_cuda: ModuleType, kernel: Callable[[str], Any], change: dict[int, Any], error: type, text: str
) -> None:
    x = emulated_cuda.zeros((4, 2), np.float32)
    special = {"float64": emulated_cuda.zeros(8), "strided": x[:, 0]}
    args = {0: x, 1: x, 2: np.int32(8), **change}
    with pytest.raises(error, match=text):
        kernel("twice")((1,), (8,), tuple(special.get(a, a) if isinstance(a, str) else a for a in args.values()))


@pytest.mark.parametrize(
    ("grid", "block", "shared"), [((0,), (32,), 0), ((1, 70000), (32,), 0), ((1,), (2048,), 0), ((1,), (32,), 60000)]
)
def test_wrong_launches(kernel: Callable[[str], Any], grid: Any, block: Any, shared: int) -> None:
    with pytest.raises(RuntimeError, match="INVALID_VALUE"):
        kernel("backwards")(grid, block, (np.uintp(0),), shared_mem=shared)


def test_writing_outside_an_array(emulated_cuda: ModuleType, kernel: Callable[[str], Any]) -> None:
    x = emulated_cuda.zeros(8, np.float32)
    with pytest.raises(RuntimeError, match="outside an array"):
        kernel("beyond")((1,), (1,), (x, np.int32(8)))


def test_divergence_is_an_error(emulated_cuda: ModuleType, kernel: Callable[[str], Any]) -> None:
    with pytest.raises(RuntimeError, match="deadlock"):
        kernel("stuck")((1,), (32,), (emulated_cuda.zeros(32, np.int32),))
    x = emulated_cuda.zeros(1, np.float32)
    kernel("beyond")((1,), (1,), (x, np.int32(0)))  # the next launch is not disturbed
    assert x.get()[0] == 1


@pytest.mark.parametrize(
    ("code", "text"),
    [
        ("#include <cmath>\n", "no headers"),
        ('extern "C" __global__ void f(float* x) { atomicAdd(x, 1.0f); }', "floating-point ones"),
        ('extern "C" __global__ void f(double* x) { x[0] = INFINITY; }', "INFINITY"),
    ],
)
def test_refused_sources(emulated_cuda: ModuleType, code: str, text: str) -> None:
    with pytest.raises(emulated_cuda.cuda.compiler.CompileException, match=text):
        emulated_cuda.RawModule(code=code).get_function("f")


def test_arrays_keep_apart(emulated_cuda: ModuleType) -> None:
    a = emulated_cuda.arange(6, dtype=np.float64).reshape(2, 3)
    assert not isinstance(np.zeros(2), emulated_cuda.ndarray)
    for derived in (a * 2, a[0], a[0, 0], a.sum(), np.exp(a), emulated_cuda.concatenate([a, a]), a.T, a.astype(int)):
        assert isinstance(derived, emulated_cuda.ndarray)
        assert backend.array_module(derived) is emulated_cuda
    with pytest.raises(TypeError, match="do not mix"):
        a + np.ones(3)
    with pytest.raises(TypeError, match="do not mix"):
        emulated_cuda.where(a > 1, np.ones((2, 3)), a)
    with pytest.raises(TypeError, match="Implicit conversion"):
        np.asarray(a)
    with pytest.raises(TypeError, match="cannot be assigned"):
        a[0] = np.ones(3)
    a[0, 1] = 7.0
    row = a[1]
    row += 1.0
    assert np.array_equal(backend.to_host(a), [[0, 7, 2], [4, 5, 6]])
    assert float(np.float64(2) * a[0, 1]) == 14
    assert backend.to_device(np.ones(3)).dtype == np.float64


def test_graphs_replay(emulated_cuda: ModuleType, kernel: Callable[[str], Any]) -> None:
    x = emulated_cuda.ones(8, np.float32)
    y = emulated_cuda.zeros(8, np.float32)
    stream = emulated_cuda.cuda.Stream(non_blocking=True)
    with stream:
        stream.begin_capture()
        kernel("twice")((1,), (8,), (x, y, np.int32(8)))
        z = (y + 1).sum()
        y *= 2
        with pytest.raises(RuntimeError, match="waits for the device"):
            y.get()
        graph = stream.end_capture()
    assert not y.get().any()
    for value in (1.0, 3.0):
        x[...] = value
        graph.launch(stream)
        stream.synchronize()
        assert float(z) == 8 * (2 * value + 1)
        assert np.array_equal(y.get(), np.full(8, 4 * value))


def test_null_stream_cannot_be_captured(emulated_cuda: ModuleType) -> None:
    with pytest.raises(RuntimeError, match="null stream"):
        emulated_cuda.cuda.Stream.null.begin_capture()
    stream = emulated_cuda.cuda.Stream()
    stream.begin_capture()
    with pytest.raises(RuntimeError, match="another stream"):
        emulated_cuda.zeros(3)


def test_transforms_and_plans(emulated_cuda: ModuleType) -> None:
    from cupyx.scipy import fft

    host = np.random.default_rng(1).normal(size=(2, 4, 5, 6)).astype(np.float32)
    a = emulated_cuda.asarray(host)
    plan = fft.get_fft_plan(a, axes=(1, 2, 3), value_type="R2C")
    b = fft.rfftn(a, axes=(1, 2, 3), plan=plan)
    assert b.dtype == np.complex64
    assert np.allclose(b.get(), np.fft.rfftn(host, axes=(1, 2, 3)), atol=1e-4)
    c = emulated_cuda.empty_like(b)
    plan.fft(a, c, emulated_cuda.cuda.cufft.CUFFT_FORWARD)
    assert np.array_equal(b.get(), c.get())
    back = fft.get_fft_plan(b, shape=(4, 5, 6), axes=(1, 2, 3), value_type="C2R")
    d = emulated_cuda.empty_like(a)
    back.fft(c, d, emulated_cuda.cuda.cufft.CUFFT_INVERSE)
    assert np.allclose(d.get() / 120, host, atol=1e-5)
    assert np.allclose(fft.irfftn(b, (4, 5, 6), axes=(1, 2, 3), plan=back).get(), host, atol=1e-5)
    with pytest.raises(ValueError, match="the plan is for"):
        fft.rfftn(a[:1], axes=(1, 2, 3), plan=plan)


def test_memory_is_counted(emulated_cuda: ModuleType) -> None:
    pool = emulated_cuda.get_default_memory_pool()
    before = pool.used_bytes()
    a = emulated_cuda.zeros(1000)
    assert pool.used_bytes() == before + 8000
    del a
    assert pool.used_bytes() == before


def test_backend_compiles_once_and_counts(
    emulated_cuda: ModuleType, monkeypatch: pytest.MonkeyPatch, tmp_path: Any
) -> None:
    (tmp_path / "sample.cu").write_text(CODE)
    monkeypatch.setattr(backend, "__file__", str(tmp_path / "backend.py"))
    assert backend.cuda_unavailable_reason() is None
    backend.reset_launch_counts()
    x = emulated_cuda.ones(4, np.float32)
    for _ in range(3):
        backend.launch("sample", "twice", (1,), (4,), (x, x, np.int32(4)))
    backend.launch("sample", "twice", (0,), (4,), (x, x, np.int32(0)))
    assert backend.launch_counts() == {"twice": 3}
    backend.reset_launch_counts()
    assert backend.launch_counts() == {}
    assert x.get().tolist() == [8] * 4


def test_nothing_stays_behind() -> None:
    before = sys.modules.get("cupy")
    with emulator.installed() as cupy:
        assert sys.modules["cupy"] is cupy
    assert sys.modules.get("cupy") is before


def test_streams_join_a_capture_and_come_back(emulated_cuda: ModuleType, kernel: Callable[[str], Any]) -> None:
    x, y = emulated_cuda.ones(8, np.float32), emulated_cuda.zeros(8, np.float32)
    main, side = (emulated_cuda.cuda.Stream(non_blocking=True) for _ in range(2))
    fork, join = emulated_cuda.cuda.Event(), emulated_cuda.cuda.Event()

    def work(comes_back: bool) -> Any:
        with main:
            main.begin_capture()
            fork.record(main)
            with side:
                with pytest.raises(RuntimeError, match="another stream"):
                    kernel("twice")((1,), (8,), (x, y, np.int32(8)))
                side.wait_event(fork)
                kernel("twice")((1,), (8,), (x, y, np.int32(8)))
                join.record(side)
            if comes_back:
                main.wait_event(join)
            return main.end_capture()

    graph = work(True)
    assert not y.get().any()
    graph.launch(main)
    assert np.array_equal(y.get(), np.full(8, 2.0))
    with pytest.raises(RuntimeError, match="has not come back"):
        work(False)
