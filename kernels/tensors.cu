// Atoms of which some have a displacement tensor, U = b/(8 pi^2) + u; float64 throughout. The NumPy twins are
// Anisotropic, total_u and parted of the package.
//
// Models in y. `index` names n of the `all` atoms of every model. Six values of a symmetric matrix are in the order 11,
// 22, 33, 12, 13, 23; a derivative by them is that by the independent entry. `own` is 1 where every model has a u of
// its own, 0 where there is one for all.

#include "six.cuh"

#define BLOCK 128

__device__ constexpr double EIGHT_PI_SQUARED = 78.956835208714868951, PI = 3.14159265358979323846;
__device__ constexpr double LEAST_WIDTH = 0.1;  // square Angstrom, of B on the grid

// The symmetric part of A B.
__device__ Six product(const Six& a, const Six& b) {
    const double m[3][3] = {{a.v[0], a.v[3], a.v[4]}, {a.v[3], a.v[1], a.v[5]}, {a.v[4], a.v[5], a.v[2]}};
    const double k[3][3] = {{b.v[0], b.v[3], b.v[4]}, {b.v[3], b.v[1], b.v[5]}, {b.v[4], b.v[5], b.v[2]}};
    const int row[6] = {0, 1, 2, 0, 0, 1}, column[6] = {0, 1, 2, 1, 2, 2};
    Six out;
#pragma unroll
    for (int n = 0; n < 6; n++) {
        double sum = 0.0;
#pragma unroll
        for (int i = 0; i < 3; i++) sum += m[row[n]][i] * k[i][column[n]] + k[row[n]][i] * m[i][column[n]];
        out.v[n] = 0.5 * sum;
    }
    return out;
}

// U whose eigenvalues below `least` have become it: Newton's interpolation of max(x, least) at the eigenvalues, which
// are moved along. Its slopes are 0 or 1 where two of them are one.
__device__ Six lifted(const Six& a, Three& value, double least) {
    const double low = fmax(value.low, least), middle = fmax(value.middle, least), high = fmax(value.high, least);
    const double flat = value.low < least ? 0.0 : 1.0, end = value.high < least ? 0.0 : 1.0;
    const double first = value.middle > value.low ? (middle - low) / (value.middle - value.low) : flat;
    const double second = value.high > value.middle ? (high - middle) / (value.high - value.middle) : end;
    const double bend = value.high > value.low ? (second - first) / (value.high - value.low) : 0.0;
    const Six one = shifted(a, -value.low), both = product(one, shifted(a, -value.middle));
    Six out;
#pragma unroll
    for (int k = 0; k < 6; k++) out.v[k] = first * one.v[k] + bend * both.v[k];
    value = {low, middle, high};
    return shifted(out, low);
}

// ---- some of the atoms

extern "C" __global__ void __launch_bounds__(BLOCK)
    take(int n, int all, const int* __restrict__ index, const double* __restrict__ xyz, const double* __restrict__ b,
         const double* __restrict__ occupancy, double* __restrict__ some_xyz, double* __restrict__ some_b,
         double* __restrict__ some_occupancy) {
    const int i = blockIdx.x * BLOCK + threadIdx.x;
    if (i >= n) return;
    const long long from = (long long)blockIdx.y * all + index[i], to = (long long)blockIdx.y * n + i;
#pragma unroll
    for (int k = 0; k < 3; k++) some_xyz[3 * to + k] = xyz[3 * from + k];
    some_b[to] = b[from];
    some_occupancy[to] = occupancy[from];
}

// Adjoint of `take`, but that other atoms keep what they have.
extern "C" __global__ void __launch_bounds__(BLOCK)
    put(int n, int all, const int* __restrict__ index, const double* __restrict__ some_xyz,
        const double* __restrict__ some_b, const double* __restrict__ some_occupancy, double* __restrict__ xyz,
        double* __restrict__ b, double* __restrict__ occupancy) {
    const int i = blockIdx.x * BLOCK + threadIdx.x;
    if (i >= n) return;
    const long long to = (long long)blockIdx.y * all + index[i], from = (long long)blockIdx.y * n + i;
#pragma unroll
    for (int k = 0; k < 3; k++) xyz[3 * to + k] = some_xyz[3 * from + k];
    b[to] = some_b[from];
    occupancy[to] = some_occupancy[from];
}

// ---- Gaussians of anisotropic atoms

// Density of one electron is sqrt(det K / pi^3) exp(-r^T K r), K = U^-1 / 2.
__device__ __forceinline__ double per_electron(double determinant_k) { return sqrt(determinant_k / PI) / PI; }

// As `gaussians` of vector.cu: `depth` is -ln of the fraction of its centre at which a Gaussian is cut off along its
// longest axis; `blur` + `shift` of the atom is added to its B.
extern "C" __global__ void __launch_bounds__(BLOCK)
    ellipsoids(int n, int all, int own, double blur, double depth, const int* __restrict__ index,
               const double* __restrict__ frac, const double* __restrict__ shift, const double* __restrict__ xyz,
               const double* __restrict__ b, const double* __restrict__ occupancy, const double* __restrict__ u,
               double* __restrict__ fractional, double* __restrict__ amplitude, double* __restrict__ precision,
               double* __restrict__ radius) {
    const int i = blockIdx.x * BLOCK + threadIdx.x;
    if (i >= n) return;
    const int atom = index[i];
    const long long from = (long long)blockIdx.y * all + atom, to = (long long)blockIdx.y * n + i;
    const double x = xyz[3 * from], y = xyz[3 * from + 1], z = xyz[3 * from + 2];
#pragma unroll
    for (int k = 0; k < 3; k++) fractional[3 * to + k] = frac[3 * k] * x + frac[3 * k + 1] * y + frac[3 * k + 2] * z;
    Six a = shifted(read_six(u + 6 * (own ? from : atom)), (b[from] + blur + shift[atom]) / EIGHT_PI_SQUARED);
    Three value = eigenvalues(a);
    if (value.low < LEAST_WIDTH / EIGHT_PI_SQUARED) a = lifted(a, value, LEAST_WIDTH / EIGHT_PI_SQUARED);
    Six c = cofactors(a);
    const double det = determinant(a, c), half = 0.5 / det;
#pragma unroll
    for (int k = 0; k < 6; k++) c.v[k] *= half;
    write_six(c, precision + 6 * to);
    amplitude[to] = occupancy[from] * per_electron(0.125 / det);
    radius[to] = sqrt(2.0 * depth * value.high);
}

// Derivatives by the atoms from those by their Gaussians: dK = -2 K dU K, and the amplitude goes with det(U)^-1/2. By B
// only the trace counts.
extern "C" __global__ void __launch_bounds__(BLOCK)
    ellipsoids_pullback(int n, int all, const int* __restrict__ index, const double* __restrict__ occupancy,
                        const double* __restrict__ precision, const double* __restrict__ d_amplitude,
                        const double* __restrict__ d_position, const double* __restrict__ d_precision,
                        double* __restrict__ d_xyz, double* __restrict__ d_b, double* __restrict__ d_occupancy,
                        double* __restrict__ d_u) {
    const int i = blockIdx.x * BLOCK + threadIdx.x;
    if (i >= n) return;
    const long long to = (long long)blockIdx.y * all + index[i], from = (long long)blockIdx.y * n + i;
    const Six k = read_six(precision + 6 * from);
    Six g = read_six(d_precision + 6 * from);
    g.v[3] *= 0.5, g.v[4] *= 0.5, g.v[5] *= 0.5;  // by the nine entries
    const double unit = per_electron(determinant(k, cofactors(k)));
    const double by_log = d_amplitude[from] * occupancy[to] * unit;
    Six by = around(k, g);
#pragma unroll
    for (int j = 0; j < 6; j++) by.v[j] = (j < 3 ? 1.0 : 2.0) * (-2.0 * by.v[j] - by_log * k.v[j]);
    write_six(by, d_u + 6 * to);
#pragma unroll
    for (int j = 0; j < 3; j++) d_xyz[3 * to + j] = d_position[3 * from + j];
    d_b[to] = (by.v[0] + by.v[1] + by.v[2]) / EIGHT_PI_SQUARED;
    d_occupancy[to] = d_amplitude[from] * unit;
}

// ---- U of all atoms, for restraints

extern "C" __global__ void __launch_bounds__(BLOCK)
    total_u(int n, int own, const double* __restrict__ b, const double* __restrict__ u, double* __restrict__ total) {
    const int atom = blockIdx.x * BLOCK + threadIdx.x;
    if (atom >= n) return;
    const long long to = (long long)blockIdx.y * n + atom;
    write_six(shifted(read_six(u + 6 * (own ? to : atom)), b[to] / EIGHT_PI_SQUARED), total + 6 * to);
}

__device__ __forceinline__ double trace_of(const double* __restrict__ gradient, long long atom) {
    return gradient ? gradient[6 * atom] + gradient[6 * atom + 1] + gradient[6 * atom + 2] : 0.0;
}

// Sum of up to four terms, null pointers for those left out, and its derivatives by B and, if it is wanted, by U.
extern "C" __global__ void __launch_bounds__(BLOCK)
    sum_by_b(int n, const double* __restrict__ one, const double* __restrict__ two, const double* __restrict__ three,
             const double* __restrict__ four, const double* __restrict__ by_one, const double* __restrict__ by_two,
             const double* __restrict__ by_three, const double* __restrict__ by_four, double* __restrict__ value,
             double* __restrict__ d_b, double* __restrict__ d_u) {
    const int atom = blockIdx.x * BLOCK + threadIdx.x, model = blockIdx.y;
    if (atom < n) {
        const long long i = (long long)model * n + atom;
        d_b[i] = (trace_of(by_one, i) + trace_of(by_two, i) + trace_of(by_three, i) + trace_of(by_four, i)) /
                 EIGHT_PI_SQUARED;
        if (d_u) {
#pragma unroll
            for (int k = 0; k < 6; k++)
                d_u[6 * i + k] = by_one[6 * i + k] + (by_two ? by_two[6 * i + k] : 0.0) +
                                 (by_three ? by_three[6 * i + k] : 0.0) + (by_four ? by_four[6 * i + k] : 0.0);
        }
    }
    if (atom == 0)
        value[model] =
            one[model] + (two ? two[model] : 0.0) + (three ? three[model] : 0.0) + (four ? four[model] : 0.0);
}
