// Displacement tensors that are refined, each for itself or in groups that move as rigid bodies; float64 throughout, all
// sums in one order. The NumPy twins are Parameters, tls.design and displacement.possible of the package.
//
// Models in y. Six values of a symmetric matrix are in the order 11, 22, 33, 12, 13, 23; a derivative by them is that by
// the independent entry. The twenty numbers of a group are T (6), L (6) and S (11, 22, 12, 13, 21, 23, 31, 32), and
// `groups` has for each its origin (3) and its numbers in the reference (20). `own` is 1 where every model has reference
// values of its own, 0 where there is one set for all.
//
// `entry` has three numbers for each atom, -1 for none: where the six of U begin in the vector, where those of its group
// begin, and the row of its projection (6, 6) onto what the site symmetry allows.

#include "six.cuh"
#include "sums.cuh"

#define BLOCK 128
#define NUMBERS 20
#define RECORD 23

__device__ constexpr double EIGHT_PI_SQUARED = 78.956835208714868951;

__device__ __forceinline__ double trace(const Six& a) { return a.v[0] + a.v[1] + a.v[2]; }

// P a, with `row` 6 and `column` 1 the steps in memory along either; its adjoint, where they are the other way round.
__device__ __forceinline__ Six projected(const double* __restrict__ p, const Six& a, int row, int column) {
    Six out;
#pragma unroll
    for (int i = 0; i < 6; i++) {
        double sum = 0.0;
#pragma unroll
        for (int j = 0; j < 6; j++) sum += p[row * i + column * j] * a.v[j];
        out.v[i] = sum;
    }
    return out;
}

// ---- eigenvalues within limits

// One rotation of Jacobi's method, in the plane of axes p and q; r is the third.
__device__ __forceinline__ void rotate(double& pp, double& qq, double& pq, double& rp, double& rq, double (&p)[3],
                                       double (&q)[3]) {
    if (pq == 0.0) return;
    const double ratio = (qq - pp) / (2.0 * pq), slope = 1.0 / (fabs(ratio) + sqrt(ratio * ratio + 1.0));
    const double t = ratio < 0.0 ? -slope : slope, c = 1.0 / sqrt(t * t + 1.0), s = t * c;
    pp -= t * pq;
    qq += t * pq;
    pq = 0.0;
    const double first = rp;
    rp = c * first - s * rq;
    rq = s * first + c * rq;
#pragma unroll
    for (int k = 0; k < 3; k++) {
        const double along = p[k];
        p[k] = c * along - s * q[k];
        q[k] = s * along + c * q[k];
    }
}

// U with its eigenvalues set to the limits that they lie beyond.
__device__ Six within(Six a, double least, double most) {
    double x[3] = {1.0, 0.0, 0.0}, y[3] = {0.0, 1.0, 0.0}, z[3] = {0.0, 0.0, 1.0};
#pragma unroll 1  // what is left falls off faster than quadratically: five are enough
    for (int sweep = 0; sweep < 8; sweep++) {
        rotate(a.v[0], a.v[1], a.v[3], a.v[4], a.v[5], x, y);
        rotate(a.v[0], a.v[2], a.v[4], a.v[3], a.v[5], x, z);
        rotate(a.v[1], a.v[2], a.v[5], a.v[3], a.v[4], y, z);
    }
    double value[3];
#pragma unroll
    for (int k = 0; k < 3; k++) value[k] = fmin(fmax(a.v[k], least), most);
    const int row[6] = {0, 1, 2, 0, 0, 1}, column[6] = {0, 1, 2, 1, 2, 2};
    Six out;
#pragma unroll
    for (int k = 0; k < 6; k++)
        out.v[k] = value[0] * x[row[k]] * x[column[k]] + value[1] * y[row[k]] * y[column[k]] +
                   value[2] * z[row[k]] * z[column[k]];
    return out;
}

// U that some atom can have; what has its eigenvalues within the limits (Smith, Comm. ACM 4, 168, 1961; see
// symmetric.eigenvalues) stays as it is, and so does NaN.
__device__ __forceinline__ Six possible(const Six& a, double least, double most) {
    const double mean = trace(a) / 3.0;
    Six b = shifted(a, -mean);
    const double p = sqrt((b.v[0] * b.v[0] + b.v[1] * b.v[1] + b.v[2] * b.v[2] +
                           2.0 * (b.v[3] * b.v[3] + b.v[4] * b.v[4] + b.v[5] * b.v[5])) / 6.0);
    double low = mean, high = mean;
    if (p > 0.0) {
#pragma unroll
        for (int k = 0; k < 6; k++) b.v[k] /= p;
        const double determinant = b.v[0] * (b.v[1] * b.v[2] - b.v[5] * b.v[5]) +
                                   b.v[3] * (b.v[4] * b.v[5] - b.v[3] * b.v[2]) +
                                   b.v[4] * (b.v[3] * b.v[5] - b.v[4] * b.v[1]);
        const double half = 0.5 * determinant;
        const double angle = acos(half < -1.0 ? -1.0 : half > 1.0 ? 1.0 : half) / 3.0;
        high = mean + 2.0 * p * cos(angle);
        low = mean + 2.0 * p * cos(angle + 2.0943951023931953);
    }
    return low < least || high > most ? within(a, least, most) : a;
}

// ---- groups

// The matrix A of a position r, A w = w x r.
struct Turn {
    double m[3][3];
};

__device__ __forceinline__ Turn turn_at(const double* __restrict__ xyz, const double* __restrict__ origin) {
    const double x = xyz[0] - origin[0], y = xyz[1] - origin[1], z = xyz[2] - origin[2];
    return {{{0.0, z, -y}, {-z, 0.0, x}, {y, -x, 0.0}}};
}

// What a group adds to U where its numbers have changed by d: T + W + W^T with W = A (L A^T / 2 + S).
__device__ __forceinline__ Six moved_by(const Turn& a, const double (&d)[NUMBERS]) {
    const double l[3][3] = {{d[6], d[9], d[10]}, {d[9], d[7], d[11]}, {d[10], d[11], d[8]}};
    double k[3][3] = {{d[12], d[14], d[15]}, {d[16], d[13], d[17]}, {d[18], d[19], -d[12] - d[13]}};
#pragma unroll
    for (int i = 0; i < 3; i++)
#pragma unroll
        for (int j = 0; j < 3; j++)
            k[i][j] += 0.5 * (l[i][0] * a.m[j][0] + l[i][1] * a.m[j][1] + l[i][2] * a.m[j][2]);
    double w[3][3];
#pragma unroll
    for (int i = 0; i < 3; i++)
#pragma unroll
        for (int j = 0; j < 3; j++) w[i][j] = a.m[i][0] * k[0][j] + a.m[i][1] * k[1][j] + a.m[i][2] * k[2][j];
    return {{d[0] + 2.0 * w[0][0], d[1] + 2.0 * w[1][1], d[2] + 2.0 * w[2][2], d[3] + w[0][1] + w[1][0],
             d[4] + w[0][2] + w[2][0], d[5] + w[1][2] + w[2][1]}};
}

// Adjoint of `moved_by`: derivatives by the numbers from that by U.
__device__ __forceinline__ void by_numbers(const Turn& a, const Six& g, double (&out)[NUMBERS]) {
    const double h[3][3] = {{g.v[0], 0.5 * g.v[3], 0.5 * g.v[4]},
                            {0.5 * g.v[3], g.v[1], 0.5 * g.v[5]},
                            {0.5 * g.v[4], 0.5 * g.v[5], g.v[2]}};
    double s[3][3], l[3][3];  // by the nine entries of S, halved, and by those of L
#pragma unroll
    for (int i = 0; i < 3; i++)
#pragma unroll
        for (int j = 0; j < 3; j++) s[i][j] = a.m[0][i] * h[0][j] + a.m[1][i] * h[1][j] + a.m[2][i] * h[2][j];
#pragma unroll
    for (int i = 0; i < 3; i++)
#pragma unroll
        for (int j = 0; j < 3; j++) l[i][j] = s[i][0] * a.m[0][j] + s[i][1] * a.m[1][j] + s[i][2] * a.m[2][j];
#pragma unroll
    for (int k = 0; k < 6; k++) out[k] = g.v[k];
    out[6] = l[0][0], out[7] = l[1][1], out[8] = l[2][2];
    out[9] = l[0][1] + l[1][0], out[10] = l[0][2] + l[2][0], out[11] = l[1][2] + l[2][1];
    out[12] = 2.0 * (s[0][0] - s[2][2]), out[13] = 2.0 * (s[1][1] - s[2][2]);
    out[14] = 2.0 * s[0][1], out[15] = 2.0 * s[0][2], out[16] = 2.0 * s[1][0];
    out[17] = 2.0 * s[1][2], out[18] = 2.0 * s[2][0], out[19] = 2.0 * s[2][1];
}

// ---- the vector and the atoms

// B and what is anisotropic about U of the atoms whose U is refined, and B of those that ride on them; others keep what
// they have. Where B of a member is refined beside its group, the group has no part in the trace of U.
extern "C" __global__ void __launch_bounds__(BLOCK)
    displace(int n, int size, int own, int n_groups, int begin, double least, double most,
             const int* __restrict__ slot, const int* __restrict__ entry, const int* __restrict__ parent,
             const double* __restrict__ projection, const double* __restrict__ groups,
             const double* __restrict__ xyz, const double* __restrict__ b, const double* __restrict__ u,
             const double* __restrict__ b_ratio, const double* __restrict__ x, double* __restrict__ new_b,
             double* __restrict__ new_u) {
    const int atom = blockIdx.x * BLOCK + threadIdx.x;
    if (atom >= n) return;
    const long long reference = own * (long long)blockIdx.y * n, out = (long long)blockIdx.y * n + atom;
    const double* v = x + (long long)blockIdx.y * size;
    const int rides_on = parent[atom];
#pragma unroll 1  // the atom, and the one that it rides on
    for (int turn = 0; turn < 2; turn++) {
        const int source = turn == 0 ? atom : rides_on;
        if (source < 0) break;
        const int at_u = entry[3ll * source], at_group = entry[3ll * source + 1], row = entry[3ll * source + 2];
        if (at_u < 0 && at_group < 0) continue;
        const double* p = projection + 36ll * row;
        const int at_b = slot[3ll * source + 1];
        Six total;
        if (at_u >= 0) {
            total = read_six(v + at_u);
            if (row >= 0) total = projected(p, total, 6, 1);
        } else {
            const double b_iso = at_b >= 0 ? v[at_b] : b[reference + source];
            total = shifted(read_six(u + 6 * (reference + source)), b_iso / EIGHT_PI_SQUARED);
        }
        if (at_group >= 0) {
            const double* record =
                groups + (long long)RECORD * (own * (int)blockIdx.y * n_groups + (at_group - begin) / NUMBERS);
            double d[NUMBERS];
#pragma unroll
            for (int k = 0; k < NUMBERS; k++) d[k] = v[at_group + k] - record[3 + k];
            Six more = moved_by(turn_at(xyz + 3 * (reference + source), record), d);
            if (row >= 0) more = projected(p, more, 6, 1);
            if (at_b >= 0) more = shifted(more, -trace(more) / 3.0);
#pragma unroll
            for (int k = 0; k < 6; k++) total.v[k] += more.v[k];
        }
        total = possible(total, least, most);
        const double mean = trace(total) / 3.0;
        if (turn == 0) {
            write_six(shifted(total, -mean), new_u + 6 * out);
            if (rides_on < 0) new_b[out] = EIGHT_PI_SQUARED * mean;
        } else {
            new_b[out] = EIGHT_PI_SQUARED * mean * b_ratio[reference + atom];
        }
    }
}

// Derivative by U of an atom from those by B, riding atoms' included, and by U with B held. `restraints` (a null pointer
// for none) is a term with a weight.
__device__ __forceinline__ Six joined(int atom, long long reference, long long model, double weight,
                                      const int* __restrict__ first, const int* __restrict__ child,
                                      const double* __restrict__ b_ratio, const double* __restrict__ d_b,
                                      const double* __restrict__ d_u, const double* __restrict__ restraints) {
    double by_b = d_b[model + atom];
#pragma unroll 1  // few ride on one atom
    for (int i = first[atom]; i < first[atom + 1]; i++)
        by_b += d_b[model + child[i]] * b_ratio[reference + child[i]];
    Six g = read_six(d_u + 6 * (model + atom));
    if (restraints) {
#pragma unroll
        for (int k = 0; k < 6; k++) g.v[k] += weight * restraints[6 * (model + atom) + k];
    }
    return shifted(g, (EIGHT_PI_SQUARED * by_b - trace(g)) / 3.0);
}

// Adjoint of `displace`. A block owns a run of the list `order`, atoms of one group (`run` has its number) or of none
// (-1); `begins` says where the runs do. `weight` has two numbers for each model, the second that of the restraints, and
// is a null pointer where they are.
// `partial` has the sums over each run by the numbers of its group.
extern "C" __global__ void __launch_bounds__(BLOCK)
    pull_tensors(int n, int size, int own, int n_groups, const int* __restrict__ order,
                 const int* __restrict__ begins, const int* __restrict__ run, const int* __restrict__ slot,
                 const int* __restrict__ entry, const int* __restrict__ first, const int* __restrict__ child,
                 const double* __restrict__ projection, const double* __restrict__ groups,
                 const double* __restrict__ xyz, const double* __restrict__ b_ratio, const double* __restrict__ weight,
                 const double* __restrict__ d_b, const double* __restrict__ d_u,
                 const double* __restrict__ restraints, double* __restrict__ gradient, double* __restrict__ partial) {
    __shared__ double part[BLOCK / 32][NUMBERS];
    const long long model = (long long)blockIdx.y * n, reference = own * model;
    const int place = begins[blockIdx.x] + threadIdx.x, group = run[blockIdx.x];
    double by[NUMBERS];
#pragma unroll
    for (int k = 0; k < NUMBERS; k++) by[k] = 0.0;
    if (place < begins[blockIdx.x + 1]) {
        const int atom = order[place], at_u = entry[3ll * atom], row = entry[3ll * atom + 2];
        Six g = joined(atom, reference, model, weight ? weight[2 * blockIdx.y + 1] : 0.0, first, child, b_ratio, d_b, d_u,
                       restraints);
        if (slot[3ll * atom + 1] >= 0) g = shifted(g, -trace(g) / 3.0);
        if (row >= 0) g = projected(projection + 36ll * row, g, 1, 6);
        if (at_u >= 0) write_six(g, gradient + (long long)blockIdx.y * size + at_u);
        if (group >= 0) {
            const double* origin = groups + (long long)RECORD * (own * (int)blockIdx.y * n_groups + group);
            by_numbers(turn_at(xyz + 3 * (reference + atom), origin), g, by);
        }
    }
    if (group < 0) return;  // the same for the whole block
    const int lane = threadIdx.x & 31;
#pragma unroll
    for (int k = 0; k < NUMBERS; k++) {
        by[k] = warp_sum(by[k]);
        if (lane == 0) part[threadIdx.x / 32][k] = by[k];
    }
    __syncthreads();
    if (threadIdx.x < NUMBERS) {
        double sum = 0.0;
#pragma unroll
        for (int w = 0; w < BLOCK / 32; w++) sum += part[w][threadIdx.x];
        partial[((long long)blockIdx.y * gridDim.x + blockIdx.x) * NUMBERS + threadIdx.x] = sum;
    }
}

// Derivatives by the numbers of a group (x) from the sums over its runs, runs_of[group] to runs_of[group + 1].
extern "C" __global__ void __launch_bounds__(BLOCK)
    sum_runs(int runs, int size, int begin, const int* __restrict__ runs_of, const double* __restrict__ partial,
             double* __restrict__ gradient) {
    __shared__ double part[BLOCK / 32][32];
    const int number = threadIdx.x & 31, row = threadIdx.x / 32, group = blockIdx.x;
    double sum = 0.0;
    if (number < NUMBERS)
        for (int k = runs_of[group] + row; k < runs_of[group + 1]; k += BLOCK / 32)
            sum += partial[((long long)blockIdx.y * runs + k) * NUMBERS + number];
    part[row][number] = sum;
    __syncthreads();
    if (threadIdx.x < NUMBERS) {
        double all = 0.0;
#pragma unroll
        for (int w = 0; w < BLOCK / 32; w++) all += part[w][threadIdx.x];
        gradient[(long long)blockIdx.y * size + begin + NUMBERS * group + threadIdx.x] = all;
    }
}
