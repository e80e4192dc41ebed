// Restraints on anisotropic U; the formulas are in adp_aniso.py. Float64 throughout, every sum in one order. Models in
// y.

#include "six.cuh"
#include "sums.cuh"

#define BLOCK 128

__device__ __forceinline__ Six inverse(const Six& a) {
    Six c = cofactors(a);
    const double scale = 1.0 / determinant(a, c);
#pragma unroll
    for (int k = 0; k < 6; k++) c.v[k] *= scale;
    return c;
}

// U made rounder where its smallest eigenvalue lies below the floor.
__device__ __forceinline__ Six safe(Six a, double floor) {
    const double low = eigenvalues(a).low, more = low < floor ? floor - low : 0.0;
    a.v[0] += more, a.v[1] += more, a.v[2] += more;
    return a;
}

// Safe U and its inverse of every atom: (12,) each. For shapes (`size` is given) U is divided by its size.
extern "C" __global__ void __launch_bounds__(BLOCK)
both(int n_atoms, double floor, const double* u, double* pair, double* size) {
    const long long atom = blockIdx.x * BLOCK + threadIdx.x, here = blockIdx.y * (long long)n_atoms + atom;
    if (atom >= n_atoms) return;
    Six a = safe(read_six(u + 6 * here), floor);
    if (size) {
        size[here] = cbrt(determinant(a, cofactors(a)));
#pragma unroll
        for (int k = 0; k < 6; k++) a.v[k] /= size[here];
    }
    write_six(a, pair + 12 * here);
    write_six(inverse(a), pair + 12 * here + 6);
}

// The term is symmetric, so each end of a pair finds its own derivative: a warp owns one atom and walks the atom's
// partners, other[first[a]..first[a + 1]]. Each end counts half of the value. `partial` has the sum of each block.
// For shapes the derivative by U/size goes on to one by U.
extern "C" __global__ void __launch_bounds__(BLOCK)
kl(int n_atoms, const double* pair, const double* size, const int* first, const int* other, const double* weight,
   double* gradient, double* partial) {
    const long long model = blockIdx.y;
    const int atom = blockIdx.x * (BLOCK / 32) + threadIdx.x / 32, lane = threadIdx.x & 31;
    pair += 12 * model * n_atoms;
    double value = 0.0;
    if (atom < n_atoms) {  // the same for all lanes of a warp
        const Six u = read_six(pair + 12ll * atom), v = read_six(pair + 12ll * atom + 6);
        Six apart = {{0, 0, 0, 0, 0, 0}}, slope = {{0, 0, 0, 0, 0, 0}};
        for (int e = first[atom] + lane; e < first[atom + 1]; e += 32) {
            const double w = weight[e], *partner = pair + 12ll * other[e];
            Six du, dv;
#pragma unroll
            for (int k = 0; k < 6; k++) {
                du.v[k] = u.v[k] - partner[k];
                dv.v[k] = partner[6 + k] - v.v[k];
                apart.v[k] += w * du.v[k];
                slope.v[k] += w * dv.v[k];
            }
            value += w / 12.0 * inner(du, dv);
        }
#pragma unroll
        for (int k = 0; k < 6; k++) {
            apart.v[k] = warp_sum(apart.v[k]);
            slope.v[k] = warp_sum(slope.v[k]);
        }
        if (lane == 0) {
            const Six through = around(v, apart);
            double* out = gradient + 6 * (model * n_atoms + atom);
            Six sum;
#pragma unroll
            for (int k = 0; k < 6; k++) sum.v[k] = (through.v[k] + slope.v[k]) / 6.0;
            if (size) {
                const double lost = inner(sum, u) / 3.0, scale = 1.0 / size[model * n_atoms + atom];
#pragma unroll
                for (int k = 0; k < 6; k++) sum.v[k] = scale * (sum.v[k] - lost * v.v[k]);
            }
#pragma unroll
            for (int k = 0; k < 6; k++) out[k] = k < 3 ? sum.v[k] : 2.0 * sum.v[k];
        }
    }
    value = block_sum<BLOCK>(value);
    if (threadIdx.x == 0) partial[model * gridDim.x + blockIdx.x] = value;
}

// Mean square displacement along a line, at least the floor.
__device__ __forceinline__ double along(const Six& u, const Six& row, double floor) {
    return fmax(inner(row, u), floor);
}

// As `kl`, with the direction (3,) of each entry of the list; n_pairs is the length of the list.
extern "C" __global__ void __launch_bounds__(BLOCK)
rigid_bond(int n_atoms, int n_pairs, double floor, const double* u, const int* first, const int* other,
           const double* direction, const double* weight, double* gradient, double* partial) {
    const long long model = blockIdx.y;
    const int atom = blockIdx.x * (BLOCK / 32) + threadIdx.x / 32, lane = threadIdx.x & 31;
    u += 6 * model * n_atoms;
    direction += 3 * model * n_pairs;
    double value = 0.0;
    if (atom < n_atoms) {
        const Six own = read_six(u + 6ll * atom);
        Six sum = {{0, 0, 0, 0, 0, 0}};
        for (int e = first[atom] + lane; e < first[atom + 1]; e += 32) {
            const double x = direction[3ll * e], y = direction[3ll * e + 1], z = direction[3ll * e + 2];
            const Six row = {{x * x, y * y, z * z, x * y, x * z, y * z}};
            const double here = along(own, row, floor), there = along(read_six(u + 6ll * other[e]), row, floor);
            const double apart = log(here / there), pull = weight[e] * apart;
            value += 0.25 * pull * apart;
#pragma unroll
            for (int k = 0; k < 6; k++) sum.v[k] += (k < 3 ? 1.0 : 2.0) * (pull / here) * row.v[k];
        }
#pragma unroll
        for (int k = 0; k < 6; k++) sum.v[k] = warp_sum(sum.v[k]);
        if (lane == 0) write_six(sum, gradient + 6 * (model * n_atoms + atom));
    }
    value = block_sum<BLOCK>(value);
    if (threadIdx.x == 0) partial[model * gridDim.x + blockIdx.x] = value;
}

// Directions (3,) of the bonds in the list, from each partner to the atom; zero where two atoms coincide. A thread
// owns an atom.
extern "C" __global__ void __launch_bounds__(BLOCK)
directions(int n_atoms, int n_pairs, const double* xyz, const int* first, const int* other, double* direction) {
    const int atom = blockIdx.x * BLOCK + threadIdx.x;
    if (atom >= n_atoms) return;
    xyz += 3ll * blockIdx.y * n_atoms;
    direction += 3ll * blockIdx.y * n_pairs;
    for (int e = first[atom]; e < first[atom + 1]; e++) {
        const double *here = xyz + 3ll * atom, *there = xyz + 3ll * other[e];
        const double x = here[0] - there[0], y = here[1] - there[1], z = here[2] - there[2];
        const double length = sqrt(x * x + y * y + z * z), scale = length > 0.0 ? 1.0 / length : 1.0;
        direction[3ll * e] = x * scale, direction[3ll * e + 1] = y * scale, direction[3ll * e + 2] = z * scale;
    }
}

// U e over the mean square displacement along e.
__device__ __forceinline__ void leaning(const Six& u, const double* e, double floor, double* out, double* along_e) {
    const double moved[3] = {u.v[0] * e[0] + u.v[3] * e[1] + u.v[4] * e[2],
                             u.v[3] * e[0] + u.v[1] * e[1] + u.v[5] * e[2],
                             u.v[4] * e[0] + u.v[5] * e[1] + u.v[2] * e[2]};
    *along_e = fmax(moved[0] * e[0] + moved[1] * e[1] + moved[2] * e[2], floor);
#pragma unroll
    for (int k = 0; k < 3; k++) out[k] = moved[k] / *along_e;
}

// Derivative of `rigid_bond` by coordinates, along which the lines turn. Both ends of a line find their own.
extern "C" __global__ void __launch_bounds__(BLOCK)
turn(int n_atoms, int n_pairs, double floor, double least, const double* u, const double* xyz, const int* first,
     const int* other, const double* direction, const double* weight, double* by_xyz) {
    const int atom = blockIdx.x * (BLOCK / 32) + threadIdx.x / 32, lane = threadIdx.x & 31;
    if (atom >= n_atoms) return;
    u += 6ll * blockIdx.y * n_atoms;
    xyz += 3ll * blockIdx.y * n_atoms;
    direction += 3ll * blockIdx.y * n_pairs;
    const Six own = read_six(u + 6ll * atom);
    double sum[3] = {0.0, 0.0, 0.0};
    for (int e = first[atom] + lane; e < first[atom + 1]; e += 32) {
        const double *here = xyz + 3ll * atom, *there = xyz + 3ll * other[e], *d = direction + 3ll * e;
        const double x = here[0] - there[0], y = here[1] - there[1], z = here[2] - there[2];
        double one[3], two[3], along_one, along_two;
        leaning(own, d, floor, one, &along_one);
        leaning(read_six(u + 6ll * other[e]), d, floor, two, &along_two);
        const double pull =
            2.0 * weight[e] * log(along_one / along_two) * rsqrt(fmax(x * x + y * y + z * z, least * least));
        const double lean[3] = {one[0] - two[0], one[1] - two[1], one[2] - two[2]};
        const double through = lean[0] * d[0] + lean[1] * d[1] + lean[2] * d[2];
#pragma unroll
        for (int k = 0; k < 3; k++) sum[k] += pull * (lean[k] - through * d[k]);
    }
#pragma unroll
    for (int k = 0; k < 3; k++) sum[k] = warp_sum(sum[k]);
    if (lane < 3) by_xyz[3 * ((long long)blockIdx.y * n_atoms + atom) + lane] = sum[lane];
}

extern "C" __global__ void __launch_bounds__(BLOCK)
sphericity(int n_atoms, double floor, const double* u, const double* weight, double* gradient, double* partial) {
    const long long model = blockIdx.y, atom = blockIdx.x * BLOCK + threadIdx.x, here = model * n_atoms + atom;
    double value = 0.0;
    if (atom < n_atoms) {
        const Six a = safe(read_six(u + 6 * here), floor), v = inverse(a);
        const double mean = (a.v[0] + a.v[1] + a.v[2]) / 3.0, w = weight[atom] / 6.0;
        Six odd = a, odd_inverse = v;
#pragma unroll
        for (int k = 0; k < 3; k++) odd.v[k] -= mean, odd_inverse.v[k] -= 1.0 / mean;
        value = -w * inner(odd, odd_inverse);
        const Six square = around(v, {{mean, mean, mean, 0.0, 0.0, 0.0}});
        const double by_mean = (v.v[0] + v.v[1] + v.v[2]) / 3.0;
#pragma unroll
        for (int k = 0; k < 6; k++)
            gradient[6 * here + k] = k < 3 ? w * (by_mean - square.v[k]) : -2.0 * w * square.v[k];
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
