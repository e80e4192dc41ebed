// Direct summation of structure factors and its gradient, in float64; the equations are in summation.py.
//
// Both are bound by sincospi, one for each (reflection, atom, operator). Forward, a thread owns a reflection and the
// block shares the symmetry mates of some atoms: h (R x + t) is then three products. Backward, a thread owns an atom
// and the block shares some reflections. Where one side has too few for the device, the other is cut into parts (y),
// whose sums `sum_parts` adds in their order.

#define BLOCK 128
#define MATES 384  // held in shared memory at once; the host refuses more operators than that
#define CHUNK 4    // operators of which an atom keeps its mates in registers

__device__ constexpr double PI = 3.14159265358979323846;

// R x + t of operator g, moved into the cell: whole cells change no phase, and small angles keep their digits.
__device__ __forceinline__ double3 mate(const int* __restrict__ rotations, const double* __restrict__ translations,
                                        int g, double x, double y, double z) {
    const int* r = rotations + 9 * g;
    const double* t = translations + 3 * g;
    const double a = r[0] * x + r[1] * y + r[2] * z + t[0], b = r[3] * x + r[4] * y + r[5] * z + t[1],
                 c = r[6] * x + r[7] * y + r[8] * z + t[2];
    return make_double3(a - floor(a), b - floor(b), c - floor(c));
}

// F(h) = sum_atoms q f e^{-B s^2 / 4} sum_g e^{2 pi i h (R_g x + t_g)} over the atoms of one part.
extern "C" __global__ void __launch_bounds__(BLOCK)
    structure_factors(int n_reflections, int n_atoms, int n_operators, int atoms_per_part, const int* __restrict__ hkl,
                      const double* __restrict__ s_squared, const double* __restrict__ fractional,
                      const double* __restrict__ b_iso, const double* __restrict__ occupancy,
                      const double* __restrict__ form_factor, const int* __restrict__ element,
                      const int* __restrict__ rotations, const double* __restrict__ translations,
                      double2* __restrict__ partial) {
    __shared__ double3 position[MATES];
    const long long r = (long long)blockIdx.x * BLOCK + threadIdx.x;
    const bool mine = r < n_reflections;
    const double h = mine ? hkl[3 * r] : 0, k = mine ? hkl[3 * r + 1] : 0, l = mine ? hkl[3 * r + 2] : 0;
    const double fall = mine ? -0.25 * s_squared[r] : 0.0;
    const int begin = blockIdx.y * atoms_per_part, end = min(n_atoms, begin + atoms_per_part);
    const int tile = MATES / n_operators;
    double2 f = make_double2(0.0, 0.0);
    for (int start = begin; start < end; start += tile) {
        const int count = min(tile, end - start);
        __syncthreads();
        for (int i = threadIdx.x; i < count * n_operators; i += BLOCK) {
            const double* x = fractional + 3ll * (start + i / n_operators);
            position[i] = mate(rotations, translations, i % n_operators, x[0], x[1], x[2]);
        }
        __syncthreads();
        if (!mine) continue;
        for (int a = 0; a < count; a++) {
            const int atom = start + a;
            const double weight = occupancy[atom] * form_factor[(long long)element[atom] * n_reflections + r] *
                                  exp(fall * b_iso[atom]);
            double2 wave = make_double2(0.0, 0.0);
            for (int g = 0; g < n_operators; g++) {
                const double3 x = position[a * n_operators + g];
                double sine, cosine;
                sincospi(2.0 * (h * x.x + k * x.y + l * x.z), &sine, &cosine);
                wave.x += cosine;
                wave.y += sine;
            }
            f.x += weight * wave.x;
            f.y += weight * wave.y;
        }
    }
    if (mine) partial[(long long)blockIdx.y * n_reflections + r] = f;
}

// With W = f e^{-B s^2 / 4} e^{2 pi i h (R_g x + t_g)} conj(dT/dF), summed over operators and the reflections of one
// part: by q, Re W; by B, -q s^2/4 Re W; by x, -2 pi q Im W h R_g. Layout of a part: x (N, 3), B (N), q (N).
extern "C" __global__ void __launch_bounds__(BLOCK)
    gradient(int n_reflections, int n_atoms, int n_operators, int reflections_per_part,
             const double2* __restrict__ d_f, const int* __restrict__ hkl, const double* __restrict__ s_squared,
             const double* __restrict__ fractional, const double* __restrict__ b_iso,
             const double* __restrict__ occupancy, const double* __restrict__ form_factor,
             const int* __restrict__ element, const int* __restrict__ rotations,
             const double* __restrict__ translations, double* __restrict__ partial) {
    __shared__ double3 index[BLOCK];
    __shared__ double2 pull[BLOCK];
    __shared__ double square[BLOCK];
    const int atom = blockIdx.x * BLOCK + threadIdx.x;
    const bool mine = atom < n_atoms;
    const double* place = fractional + 3ll * atom;
    const double x = mine ? place[0] : 0.0, y = mine ? place[1] : 0.0, z = mine ? place[2] : 0.0;
    const double fall = mine ? -0.25 * b_iso[atom] : 0.0;
    const double* scattering = form_factor + (mine ? (long long)element[atom] * n_reflections : 0);
    const int begin = blockIdx.y * reflections_per_part, end = min(n_reflections, begin + reflections_per_part);
    double by_x = 0.0, by_y = 0.0, by_z = 0.0, by_b = 0.0, by_q = 0.0;
    for (int first = 0; first < n_operators; first += CHUNK) {
        double3 at[CHUNK], sum[CHUNK];
#pragma unroll
        for (int o = 0; o < CHUNK; o++) {
            at[o] = first + o < n_operators ? mate(rotations, translations, first + o, x, y, z) : make_double3(0, 0, 0);
            sum[o] = make_double3(0, 0, 0);
        }
        for (int start = begin; start < end; start += BLOCK) {
            const int count = min(BLOCK, end - start), own = start + threadIdx.x;
            __syncthreads();
            if (threadIdx.x < count) {
                index[threadIdx.x] = make_double3(hkl[3ll * own], hkl[3ll * own + 1], hkl[3ll * own + 2]);
                pull[threadIdx.x] = d_f[own];
                square[threadIdx.x] = s_squared[own];
            }
            __syncthreads();
            if (!mine) continue;
            for (int i = 0; i < count; i++) {
                const double3 h = index[i];
                const double2 p = pull[i];
                const double weight = scattering[start + i] * exp(fall * square[i]);
                double along = 0.0;
#pragma unroll
                for (int o = 0; o < CHUNK; o++) {
                    if (first + o >= n_operators) continue;
                    double sine, cosine;
                    sincospi(2.0 * (h.x * at[o].x + h.y * at[o].y + h.z * at[o].z), &sine, &cosine);
                    along += cosine * p.x + sine * p.y;
                    const double across = weight * (sine * p.x - cosine * p.y);
                    sum[o].x += across * h.x;
                    sum[o].y += across * h.y;
                    sum[o].z += across * h.z;
                }
                along *= weight;
                by_q += along;
                by_b += square[i] * along;
            }
        }
#pragma unroll
        for (int o = 0; o < CHUNK; o++) {
            if (first + o >= n_operators) continue;
            const int* m = rotations + 9 * (first + o);
            by_x += m[0] * sum[o].x + m[3] * sum[o].y + m[6] * sum[o].z;
            by_y += m[1] * sum[o].x + m[4] * sum[o].y + m[7] * sum[o].z;
            by_z += m[2] * sum[o].x + m[5] * sum[o].y + m[8] * sum[o].z;
        }
    }
    if (!mine) return;
    const double q = occupancy[atom];
    double* out = partial + 5ll * n_atoms * blockIdx.y;
    out[3ll * atom] = -2.0 * PI * q * by_x;
    out[3ll * atom + 1] = -2.0 * PI * q * by_y;
    out[3ll * atom + 2] = -2.0 * PI * q * by_z;
    out[3ll * n_atoms + atom] = -0.25 * q * by_b;
    out[4ll * n_atoms + atom] = by_q;
}

// U* = A U A^T (A = frac, Cartesian to fractional), so that h U* h^T = s U s for the Cartesian s of h.
__device__ __forceinline__ void star(const double* __restrict__ u, const double* __restrict__ frac, double* out) {
    const double k[3][3] = {{u[0], u[3], u[4]}, {u[3], u[1], u[5]}, {u[4], u[5], u[2]}};
    const int row[6] = {0, 1, 2, 0, 0, 1}, column[6] = {0, 1, 2, 1, 2, 2};
#pragma unroll
    for (int n = 0; n < 6; n++) {
        double sum = 0.0;
#pragma unroll
        for (int i = 0; i < 3; i++)
#pragma unroll
            for (int j = 0; j < 3; j++) sum += frac[3 * row[n] + i] * k[i][j] * frac[3 * column[n] + j];
        out[n] = sum;
    }
}

// h R, the index that operator g makes of h, and h t in turns.
struct Index { double x, y, z, shift; };

__device__ __forceinline__ Index turned(const int* __restrict__ rotations, const double* __restrict__ translations,
                                        int g, double h, double k, double l) {
    const int* r = rotations + 9 * g;
    const double* t = translations + 3 * g;
    return {h * r[0] + k * r[3] + l * r[6], h * r[1] + k * r[4] + l * r[7], h * r[2] + k * r[5] + l * r[8],
            h * t[0] + k * t[1] + l * t[2]};
}

__device__ __forceinline__ double quadratic(const double* u, double x, double y, double z) {
    return x * (u[0] * x + 2.0 * (u[3] * y + u[4] * z)) + y * (u[1] * y + 2.0 * u[5] * z) + u[2] * z * z;
}

// As `structure_factors`, with e^{-2 pi^2 h R_g U* (h R_g)^T} in each term: operators turn the index instead of the atom.
extern "C" __global__ void __launch_bounds__(BLOCK)
    structure_factors_aniso(int n_reflections, int n_atoms, int n_operators, int atoms_per_part,
                            const int* __restrict__ hkl, const double* __restrict__ s_squared,
                            const double* __restrict__ fractional, const double* __restrict__ b_iso,
                            const double* __restrict__ occupancy, const double* __restrict__ form_factor,
                            const int* __restrict__ element, const int* __restrict__ rotations,
                            const double* __restrict__ translations, const double* __restrict__ u_aniso,
                            const double* __restrict__ frac, double2* __restrict__ partial) {
    __shared__ double3 position[BLOCK];
    __shared__ double spread[BLOCK][6], b[BLOCK], q[BLOCK];
    __shared__ int row[BLOCK];
    const long long r = (long long)blockIdx.x * BLOCK + threadIdx.x;
    const bool mine = r < n_reflections;
    const double h = mine ? hkl[3 * r] : 0, k = mine ? hkl[3 * r + 1] : 0, l = mine ? hkl[3 * r + 2] : 0;
    const double fall = mine ? -0.25 * s_squared[r] : 0.0;
    const int begin = blockIdx.y * atoms_per_part, end = min(n_atoms, begin + atoms_per_part);
    double2 f = make_double2(0.0, 0.0);
    for (int start = begin; start < end; start += BLOCK) {
        const int count = min(BLOCK, end - start);
        __syncthreads();
        if (threadIdx.x < count) {
            const long long a = start + threadIdx.x;
            const double x = fractional[3 * a], y = fractional[3 * a + 1], z = fractional[3 * a + 2];
            position[threadIdx.x] = make_double3(x - floor(x), y - floor(y), z - floor(z));
            star(u_aniso + 6 * a, frac, spread[threadIdx.x]);
            b[threadIdx.x] = b_iso[a];
            q[threadIdx.x] = occupancy[a];
            row[threadIdx.x] = element[a];
        }
        __syncthreads();
        if (!mine) continue;
        for (int g = 0; g < n_operators; g++) {
            const Index i = turned(rotations, translations, g, h, k, l);
            for (int a = 0; a < count; a++) {
                const double3 x = position[a];
                const double weight = q[a] * form_factor[(long long)row[a] * n_reflections + r] *
                                      exp(fall * b[a] - 2.0 * PI * PI * quadratic(spread[a], i.x, i.y, i.z));
                double sine, cosine;
                sincospi(2.0 * (i.x * x.x + i.y * x.y + i.z * x.z + i.shift), &sine, &cosine);
                f.x += weight * cosine;
                f.y += weight * sine;
            }
        }
    }
    if (mine) partial[(long long)blockIdx.y * n_reflections + r] = f;
}

// As `gradient`, with U; by U*, -2 pi^2 q Re W h_i h_j of the turned index, then by U. Layout of a part: x (N, 3),
// B (N), q (N), U (N, 6), the latter by independent entry.
extern "C" __global__ void __launch_bounds__(BLOCK)
    gradient_aniso(int n_reflections, int n_atoms, int n_operators, int reflections_per_part,
                   const double2* __restrict__ d_f, const int* __restrict__ hkl, const double* __restrict__ s_squared,
                   const double* __restrict__ fractional, const double* __restrict__ b_iso,
                   const double* __restrict__ occupancy, const double* __restrict__ form_factor,
                   const int* __restrict__ element, const int* __restrict__ rotations,
                   const double* __restrict__ translations, const double* __restrict__ u_aniso,
                   const double* __restrict__ frac, double* __restrict__ partial) {
    __shared__ double3 index[BLOCK];
    __shared__ double2 pull[BLOCK];
    __shared__ double square[BLOCK];
    const int atom = blockIdx.x * BLOCK + threadIdx.x;
    const bool mine = atom < n_atoms;
    const double* place = fractional + 3ll * atom;
    const double x = mine ? place[0] - floor(place[0]) : 0.0, y = mine ? place[1] - floor(place[1]) : 0.0,
                 z = mine ? place[2] - floor(place[2]) : 0.0;
    const double fall = mine ? -0.25 * b_iso[atom] : 0.0;
    const double* scattering = form_factor + (mine ? (long long)element[atom] * n_reflections : 0);
    double u[6] = {0.0, 0.0, 0.0, 0.0, 0.0, 0.0}, by_u[6] = {0.0, 0.0, 0.0, 0.0, 0.0, 0.0};
    if (mine) star(u_aniso + 6ll * atom, frac, u);
    const int begin = blockIdx.y * reflections_per_part, end = min(n_reflections, begin + reflections_per_part);
    double by_x = 0.0, by_y = 0.0, by_z = 0.0, by_b = 0.0, by_q = 0.0;
    for (int start = begin; start < end; start += BLOCK) {
        const int count = min(BLOCK, end - start), own = start + threadIdx.x;
        __syncthreads();
        if (threadIdx.x < count) {
            index[threadIdx.x] = make_double3(hkl[3ll * own], hkl[3ll * own + 1], hkl[3ll * own + 2]);
            pull[threadIdx.x] = d_f[own];
            square[threadIdx.x] = s_squared[own];
        }
        __syncthreads();
        if (!mine) continue;
        for (int i = 0; i < count; i++) {
            const double3 h = index[i];
            const double2 p = pull[i];
            const double weight = scattering[start + i];
            for (int g = 0; g < n_operators; g++) {
                const Index t = turned(rotations, translations, g, h.x, h.y, h.z);
                const double w = weight * exp(fall * square[i] - 2.0 * PI * PI * quadratic(u, t.x, t.y, t.z));
                double sine, cosine;
                sincospi(2.0 * (t.x * x + t.y * y + t.z * z + t.shift), &sine, &cosine);
                const double along = w * (cosine * p.x + sine * p.y), across = w * (sine * p.x - cosine * p.y);
                by_x += across * t.x;
                by_y += across * t.y;
                by_z += across * t.z;
                by_q += along;
                by_b += square[i] * along;
                by_u[0] += along * t.x * t.x;
                by_u[1] += along * t.y * t.y;
                by_u[2] += along * t.z * t.z;
                by_u[3] += along * t.x * t.y;
                by_u[4] += along * t.x * t.z;
                by_u[5] += along * t.y * t.z;
            }
        }
    }
    if (!mine) return;
    const double q = occupancy[atom];
    double* out = partial + 11ll * n_atoms * blockIdx.y;
    out[3ll * atom] = -2.0 * PI * q * by_x;
    out[3ll * atom + 1] = -2.0 * PI * q * by_y;
    out[3ll * atom + 2] = -2.0 * PI * q * by_z;
    out[3ll * n_atoms + atom] = -0.25 * q * by_b;
    out[4ll * n_atoms + atom] = by_q;
    const double turn[9] = {frac[0], frac[3], frac[6], frac[1], frac[4], frac[7], frac[2], frac[5], frac[8]};
    double cartesian[6];
    star(by_u, turn, cartesian);
    out += 5ll * n_atoms + 6ll * atom;
    for (int n = 0; n < 6; n++) out[n] = (n < 3 ? -2.0 : -4.0) * PI * PI * q * cartesian[n];
}

// Sum of n values over the parts, always in the same order.
extern "C" __global__ void __launch_bounds__(BLOCK)
    sum_parts(long long n, int parts, const double* __restrict__ partial, double* __restrict__ out) {
    const long long i = (long long)blockIdx.x * BLOCK + threadIdx.x;
    if (i >= n) return;
    double sum = 0.0;
    for (int p = 0; p < parts; p++) sum += partial[p * n + i];
    out[i] = sum;
}
