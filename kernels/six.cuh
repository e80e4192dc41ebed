// Symmetric matrices; their six values are in the order 11, 22, 33, 12, 13, 23.

struct Six { double v[6]; };

__device__ __forceinline__ Six read_six(const double* __restrict__ p) {
    return {{p[0], p[1], p[2], p[3], p[4], p[5]}};
}

__device__ __forceinline__ void write_six(const Six& a, double* __restrict__ p) {
#pragma unroll
    for (int k = 0; k < 6; k++) p[k] = a.v[k];
}

// A + the unit matrix times `by`.
__device__ __forceinline__ Six shifted(Six a, double by) {
    a.v[0] += by, a.v[1] += by, a.v[2] += by;
    return a;
}

// tr(A B)
__device__ __forceinline__ double inner(const Six& a, const Six& b) {
    return a.v[0] * b.v[0] + a.v[1] * b.v[1] + a.v[2] * b.v[2] +
           2.0 * (a.v[3] * b.v[3] + a.v[4] * b.v[4] + a.v[5] * b.v[5]);
}

__device__ __forceinline__ Six cofactors(const Six& a) {
    const double xx = a.v[0], yy = a.v[1], zz = a.v[2], xy = a.v[3], xz = a.v[4], yz = a.v[5];
    return {{yy * zz - yz * yz, xx * zz - xz * xz, xx * yy - xy * xy, xz * yz - xy * zz, xy * yz - xz * yy,
             xy * xz - xx * yz}};
}

// Determinant of A, with its cofactors C.
__device__ __forceinline__ double determinant(const Six& a, const Six& c) {
    return a.v[0] * c.v[0] + a.v[3] * c.v[3] + a.v[4] * c.v[4];
}

// A B A
__device__ Six around(const Six& a, const Six& b) {
    const double m[3][3] = {{a.v[0], a.v[3], a.v[4]}, {a.v[3], a.v[1], a.v[5]}, {a.v[4], a.v[5], a.v[2]}};
    const double k[3][3] = {{b.v[0], b.v[3], b.v[4]}, {b.v[3], b.v[1], b.v[5]}, {b.v[4], b.v[5], b.v[2]}};
    const int row[6] = {0, 1, 2, 0, 0, 1}, column[6] = {0, 1, 2, 1, 2, 2};
    Six out;
#pragma unroll
    for (int n = 0; n < 6; n++) {
        double sum = 0.0;
#pragma unroll
        for (int i = 0; i < 3; i++)
#pragma unroll
            for (int j = 0; j < 3; j++) sum += m[row[n]][i] * k[i][j] * m[j][column[n]];
        out.v[n] = sum;
    }
    return out;
}

struct Three { double low, middle, high; };

// Eigenvalues (Smith, Comm. ACM 4, 168, 1961); see symmetric.eigenvalues. Keeps NaN.
__device__ Three eigenvalues(const Six& a) {
    const double mean = (a.v[0] + a.v[1] + a.v[2]) / 3.0;
    Six b = shifted(a, -mean);
    const double p = sqrt(inner(b, b) / 6.0);
    if (!(p > 0.0)) return {mean + p, mean + p, mean + p};
#pragma unroll
    for (int k = 0; k < 6; k++) b.v[k] /= p;
    const double half = 0.5 * determinant(b, cofactors(b));
    const double angle = acos(half < -1.0 ? -1.0 : half > 1.0 ? 1.0 : half) / 3.0;
    const double high = mean + 2.0 * p * cos(angle), low = mean + 2.0 * p * cos(angle + 2.0943951023931953);
    return {low, 3.0 * mean - low - high, high};
}
