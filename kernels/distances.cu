// Robust restraints on distances and on differences of two; the formulas and their sources are in distances.py.
// Float64 throughout, no two threads write to one place, every sum has one order.

#include "sums.cuh"

#define BLOCK 128

__device__ constexpr double TINY = 1e-12;

// Distance of two atoms; its derivative by the first goes to `unit`.
inline __device__ double distance(const double* xyz, int a, int b, double* unit) {
    double delta[3], square = 0.0;
    for (int k = 0; k < 3; k++) {
        delta[k] = xyz[3ll * a + k] - xyz[3ll * b + k];
        square += delta[k] * delta[k];
    }
    const double length = sqrt(square), scale = 1.0 / (length > TINY ? length : TINY);
    for (int k = 0; k < 3; k++) unit[k] = scale * delta[k];
    return length;
}

// rho(z); its derivative goes to `slope`.
inline __device__ double loss(double z, double alpha, double& slope) {
    const double half = 0.5 * z * z;
    if (alpha == 2.0) {
        slope = z;
        return half;
    }
    if (alpha == 0.0) {
        slope = z / (half + 1.0);
        return log1p(half);
    }
    const double scale = 2.0 - alpha, power = 0.5 * alpha * log1p(z * z / scale);
    slope = z * exp(power) / (z * z / scale + 1.0);
    return scale / alpha * expm1(power);
}

// One thread owns one restraint and writes what it pulls at each of its atoms into slots of its own: first the n_single
// restraints on one distance, with two slots each, then the n_double on two, with four. Models are in y.
extern "C" __global__ void __launch_bounds__(BLOCK)
pulls(int n_atoms, int n_slots, int n_single, int n_double, const double* xyz, const int* index, const double* ideal,
      const double* sigma, const double* alpha, const double* weight, const double* slack, double* pull, double* partial) {
    const long long model = blockIdx.y;
    const int r = blockIdx.x * BLOCK + threadIdx.x;
    xyz += 3 * model * n_atoms;
    pull += 3 * model * n_slots;
    double value = 0.0;
    if (r < n_single + n_double) {
        const bool two = r >= n_single;
        const long long slot = two ? 2ll * n_single + 4ll * (r - n_single) : 2ll * r;
        double u[3], v[3] = {0.0, 0.0, 0.0}, slope;
        double d = distance(xyz, index[slot], index[slot + 1], u);
        if (two) d -= distance(xyz, index[slot + 2], index[slot + 3], v);
        const double off = d - ideal[r];
        const double beyond = fabs(off) < slack[r] ? 0.0 : off - copysign(slack[r], off);
        value = weight[r] * loss(beyond / sigma[r], alpha[r], slope);
        slope *= weight[r] / sigma[r];
        for (int k = 0; k < 3; k++) {
            pull[3 * slot + k] = slope * u[k];
            pull[3 * slot + 3 + k] = -slope * u[k];
            if (two) {
                pull[3 * slot + 6 + k] = -slope * v[k];
                pull[3 * slot + 9 + k] = slope * v[k];
            }
        }
    }
    value = block_sum<BLOCK>(value);
    if (threadIdx.x == 0) partial[model * gridDim.x + blockIdx.x] = value;
}

// Adds to the gradient by each coordinate (x) of each model (y) what its slots slots[first[a]..first[a + 1]] pull; the
// last block adds the sums of the n_partial blocks to the value.
extern "C" __global__ void __launch_bounds__(BLOCK)
add_pulls(int n_atoms, int n_slots, int n_partial, const int* first, const int* slots, const double* pull,
          const double* partial, double* value, double* gradient) {
    const long long model = blockIdx.y;
    if (blockIdx.x == gridDim.x - 1) {
        double v = 0.0;
        for (int k = threadIdx.x; k < n_partial; k += BLOCK) v += partial[model * n_partial + k];
        v = block_sum<BLOCK>(v);
        if (threadIdx.x == 0) value[model] += v;
        return;
    }
    const long long t = (long long)blockIdx.x * BLOCK + threadIdx.x;
    if (t >= 3ll * n_atoms) return;
    const int atom = (int)(t / 3), axis = (int)(t % 3);
    pull += 3 * model * n_slots + axis;
    double sum = 0.0;
    for (int k = first[atom]; k < first[atom + 1]; k++) sum += pull[3ll * slots[k]];
    gradient[3 * model * n_atoms + t] += sum;
}
