// Restraints on B; the formulas are in adp.py. Float64 throughout, every sum in one order.

#include "limits.cuh"
#include "sums.cuh"

#define BLOCK 128
#define WIDE 512

// 1/2 sum of w (B1 - B2)^2 / (B1 B2). The term is symmetric, so each end of a pair finds its own derivative: a warp
// owns one atom and walks the atom's partners, other[first[a]..first[a + 1]]. Each end counts half of the value.
// Models in y; `partial` has the sum of each block.
extern "C" __global__ void __launch_bounds__(BLOCK)
kl(int n_atoms, double floor, const double* b, const int* first, const int* other, const double* weight,
   double* gradient, double* partial) {
    const long long model = blockIdx.y;
    const int atom = blockIdx.x * (BLOCK / 32) + threadIdx.x / 32, lane = threadIdx.x & 31;
    b += model * n_atoms;
    double value = 0.0;
    if (atom < n_atoms) {  // the same for all lanes of a warp
        const double b1 = at_least(floor, b[atom]);
        double slope = 0.0;
        for (int e = first[atom] + lane; e < first[atom + 1]; e += 32) {
            const double b2 = at_least(floor, b[other[e]]), share = 0.5 * weight[e] * (b1 - b2) / (b1 * b2);
            value += 0.5 * share * (b1 - b2);
            slope += share * (b1 + b2) / b1;
        }
        for (int step = 16; step > 0; step /= 2) slope += __shfl_down_sync(0xffffffffu, slope, step);
        if (lane == 0) gradient[model * n_atoms + atom] = slope;
    }
    value = block_sum<BLOCK>(value);
    if (threadIdx.x == 0) partial[model * gridDim.x + blockIdx.x] = value;
}

// Value of each model (x) from the sums of its n blocks.
extern "C" __global__ void __launch_bounds__(BLOCK) sum_blocks(int n, const double* partial, double* value) {
    double v = 0.0;
    for (int k = threadIdx.x; k < n; k += BLOCK) v += partial[(long long)blockIdx.x * n + k];
    v = block_sum<BLOCK>(v);
    if (threadIdx.x == 0) value[blockIdx.x] = v;
}

// Sum of (B - mean B)^2 of each model (x).
extern "C" __global__ void __launch_bounds__(WIDE)
variance(int n_atoms, const double* b, double* gradient, double* value) {
    const long long model = blockIdx.x;
    b += model * n_atoms;
    gradient += model * n_atoms;
    double sum = 0.0;
    for (int a = threadIdx.x; a < n_atoms; a += WIDE) sum += b[a];
    const double mean = block_sum<WIDE>(sum) / n_atoms;
    sum = 0.0;
    for (int a = threadIdx.x; a < n_atoms; a += WIDE) {
        const double delta = b[a] - mean;
        gradient[a] = 2.0 * delta;
        sum += delta * delta;
    }
    sum = block_sum<WIDE>(sum);
    if (threadIdx.x == 0) value[model] = sum;
}
