// Restraints on coordinates; the formulas and their sources are in geometry.py. Float64 throughout.
//
// An evaluation of all of them is two launches. `restraints`: one thread owns one restraint and writes what it pulls
// at each of its atoms, z dz/dx, into a slot of its own. `sum_pulls`: one thread owns one coordinate and adds up its
// slots, which a list made once names. No two threads write to one place, and every sum has one order.

#include "sums.cuh"

#define BLOCK 128

__device__ constexpr double DEGREES = 57.295779513082320877;
__device__ constexpr double TINY = 1e-12, SHORT_SQUARED = 1e-6, COLLINEAR_SQUARED = 1e-4;

inline __device__ double3 operator+(double3 a, double3 b) { return make_double3(a.x + b.x, a.y + b.y, a.z + b.z); }
inline __device__ double3 operator-(double3 a, double3 b) { return make_double3(a.x - b.x, a.y - b.y, a.z - b.z); }
inline __device__ double3 operator*(double s, double3 a) { return make_double3(s * a.x, s * a.y, s * a.z); }
// From +0, so that it is never -0, for which atan2(0, -0) would turn angles without a direction by 180 degrees.
inline __device__ double dot(double3 a, double3 b) { return 0.0 + a.x * b.x + a.y * b.y + a.z * b.z; }
inline __device__ double3 cross(double3 a, double3 b) {
    return make_double3(a.y * b.z - a.z * b.y, a.z * b.x - a.x * b.z, a.x * b.y - a.y * b.x);
}

inline __device__ double3 load(const double* xyz, int atom) {
    const double* p = xyz + 3ll * atom;
    return make_double3(p[0], p[1], p[2]);
}

inline __device__ void store(double* out, double3 a) {
    out[0] = a.x;
    out[1] = a.y;
    out[2] = a.z;
}

// ---- terms: z = (what it is - ideal) / sigma; j[k] its derivative by the position r[k] of atom k

enum Kind { BOND, ANGLE, TORSION, CHIRALITY };
__host__ __device__ constexpr int width(int kind) { return kind == BOND ? 2 : kind == ANGLE ? 3 : 4; }

__device__ double bond(const double3* r, double ideal, double sigma, double3* j) {
    const double3 delta = r[0] - r[1];
    const double distance = sqrt(dot(delta, delta));
    j[0] = 1.0 / (fmax(distance, TINY) * sigma) * delta;
    j[1] = -1.0 * j[0];
    return (distance - ideal) / sigma;
}

__device__ double angle(const double3* r, double ideal, double sigma, double3* j) {
    const double3 a = r[0] - r[1], b = r[2] - r[1];
    double3 normal = cross(a, b);
    const double sine = sqrt(dot(normal, normal));
    const double theta = atan2(sine, dot(a, b)) * DEGREES, scale = DEGREES / sigma;
    normal = 1.0 / fmax(sine, TINY) * normal;  // zero where the atoms lie on a line and no direction exists
    j[0] = scale / fmax(dot(a, a), SHORT_SQUARED) * cross(a, normal);
    j[2] = scale / fmax(dot(b, b), SHORT_SQUARED) * cross(normal, b);
    j[1] = -1.0 * (j[0] + j[2]);
    return (theta - ideal) / sigma;
}

__device__ double torsion(const double3* r, double ideal, double sigma, int period, double3* j) {
    const double3 f = r[0] - r[1], g = r[1] - r[2], h = r[3] - r[2];
    double3 a = cross(f, g), b = cross(h, g);
    const double g_length = fmax(sqrt(dot(g, g)), 1e-3);
    const double phi = atan2(dot(cross(b, a), g) / g_length, dot(a, b)) * DEGREES, scale = DEGREES / sigma;
    a = 1.0 / fmax(dot(a, a), COLLINEAR_SQUARED) * a;
    b = 1.0 / fmax(dot(b, b), COLLINEAR_SQUARED) * b;
    const double3 shift = dot(f, g) / g_length * a - dot(h, g) / g_length * b;
    const double3 d1 = -g_length * a, d4 = g_length * b;
    j[0] = scale * d1;
    j[1] = scale * (shift - d1);
    j[2] = -scale * (d4 + shift);
    j[3] = scale * d4;
    const double turn = 360.0 / period, delta = phi - ideal;
    return (delta - turn * rint(delta / turn)) / sigma;
}

__device__ double chirality(const double3* r, double ideal, double sigma, double3* j) {
    const double3 a = r[1] - r[0], b = r[2] - r[0], c = r[3] - r[0];
    const double3 da = cross(b, c), db = cross(c, a), dc = cross(a, b);
    j[0] = -1.0 / sigma * (da + db + dc);
    j[1] = 1.0 / sigma * da;
    j[2] = 1.0 / sigma * db;
    j[3] = 1.0 / sigma * dc;
    return (dot(a, da) - ideal) / sigma;
}

template <int KIND>
__device__ double term(const double* xyz, const int* index, double ideal, double sigma, int period, double3* j) {
    double3 r[width(KIND)];
    for (int k = 0; k < width(KIND); k++) r[k] = load(xyz, index[k]);
    if constexpr (KIND == BOND) return bond(r, ideal, sigma, j);
    if constexpr (KIND == ANGLE) return angle(r, ideal, sigma, j);
    if constexpr (KIND == TORSION) return torsion(r, ideal, sigma, period, j);
    if constexpr (KIND == CHIRALITY) return chirality(r, ideal, sigma, j);
}

// ---- planes

// Jacobi rotation that clears a_pq of a symmetric matrix (`pp`, `qq` on the diagonal, r the third index), and turns
// the vectors p and q with it.
inline __device__ void rotate(double& pp, double& qq, double& pq, double& rp, double& rq, double3& p, double3& q) {
    if (pq == 0.0) return;
    const double theta = 0.5 * (qq - pp) / pq;
    const double t = copysign(1.0, theta) / (fabs(theta) + sqrt(theta * theta + 1.0));
    const double c = rsqrt(t * t + 1.0), s = t * c;
    pp -= t * pq;
    qq += t * pq;
    pq = 0.0;
    const double old_rp = rp;
    rp = c * old_rp - s * rq;
    rq = s * old_rp + c * rq;
    const double3 old_p = p;
    p = c * old_p - s * q;
    q = s * old_p + c * q;
}

// Unit eigenvector of the smallest eigenvalue of a symmetric matrix.
__device__ double3 smallest_eigenvector(double xx, double yy, double zz, double xy, double xz, double yz) {
    double3 u = make_double3(1, 0, 0), v = make_double3(0, 1, 0), w = make_double3(0, 0, 1);
    for (int sweep = 0; sweep < 12; sweep++) {
        const double off = fabs(xy) + fabs(xz) + fabs(yz);
        if (off <= 1e-30 * (fabs(xx) + fabs(yy) + fabs(zz))) break;  // convergence is quadratic: usually 4 or 5
        rotate(xx, yy, xy, xz, yz, u, v);
        rotate(xx, zz, xz, xy, yz, u, w);
        rotate(yy, zz, yz, xy, xz, v, w);
    }
    double3 n = u;
    if (yy < xx) n = v;
    if (zz < fmin(xx, yy)) n = w;
    return rsqrt(dot(n, n)) * n;
}

struct Plane {
    double3 centroid, normal;
};

// Best plane of n atoms, each with the weight 1/sigma^2.
__device__ Plane best_plane(const double* xyz, const int* index, const double* sigma, int n) {
    Plane plane = {make_double3(0, 0, 0), make_double3(0, 0, 0)};
    double total = 0.0;
    for (int k = 0; k < n; k++) {
        const double weight = 1.0 / (sigma[k] * sigma[k]);
        total += weight;
        plane.centroid = plane.centroid + weight * load(xyz, index[k]);
    }
    plane.centroid = 1.0 / total * plane.centroid;
    double xx = 0.0, yy = 0.0, zz = 0.0, xy = 0.0, xz = 0.0, yz = 0.0;
    for (int k = 0; k < n; k++) {
        const double weight = 1.0 / (sigma[k] * sigma[k]);
        const double3 d = load(xyz, index[k]) - plane.centroid;
        xx += weight * d.x * d.x;
        yy += weight * d.y * d.y;
        zz += weight * d.z * d.z;
        xy += weight * d.x * d.y;
        xz += weight * d.x * d.z;
        yz += weight * d.y * d.z;
    }
    plane.normal = smallest_eigenvector(xx, yy, zz, xy, xz, yz);
    return plane;
}

// ---- kernels of single kinds: z and its derivatives

template <int KIND>
__device__ void deviations(int n, const double* xyz, const int* index, const double* ideal, const double* sigma,
                           const int* period, double* z, double* jacobian) {
    const int r = blockIdx.x * BLOCK + threadIdx.x;
    if (r >= n) return;
    constexpr int W = width(KIND);
    double3 j[W];
    z[r] = term<KIND>(xyz, index + (long long)W * r, ideal[r], sigma[r], KIND == TORSION ? period[r] : 1, j);
    for (int k = 0; k < W; k++) store(jacobian + 3 * ((long long)W * r + k), j[k]);
}

#define DEVIATIONS(name, KIND)                                                                              \
    extern "C" __global__ void name(int n, const double* xyz, const int* index, const double* ideal,        \
                                    const double* sigma, const int* period, double* z, double* jacobian) {  \
        deviations<KIND>(n, xyz, index, ideal, sigma, period, z, jacobian);                                 \
    }
DEVIATIONS(bond_deviations, BOND)
DEVIATIONS(angle_deviations, ANGLE)
DEVIATIONS(torsion_deviations, TORSION)
DEVIATIONS(chirality_deviations, CHIRALITY)

// Entries of one plane stand together; the thread of the first does the work of all.
extern "C" __global__ void plane_deviations(int n, const double* xyz, const int* index, const int* plane,
                                            const double* sigma, double* z, double* jacobian) {
    const int first = blockIdx.x * BLOCK + threadIdx.x;
    if (first >= n || (first > 0 && plane[first - 1] == plane[first])) return;
    int end = first + 1;
    while (end < n && plane[end] == plane[first]) end++;
    const Plane best = best_plane(xyz, index + first, sigma + first, end - first);
    for (int k = first; k < end; k++) {
        z[k] = dot(load(xyz, index[k]) - best.centroid, best.normal) / sigma[k];
        store(jacobian + 3ll * k, 1.0 / sigma[k] * best.normal);
    }
}

// Value and gradient from z (n,) and jacobian (n, width, 3). Entry e of the list is atom e % width of restraint
// e / width; entries[first[a]..first[a + 1]] belong to atom a. The last block makes the value.
extern "C" __global__ void __launch_bounds__(BLOCK)
accumulate(int n_atoms, int n, int width, const int* first, const long long* entries, const double* z,
           const double* jacobian, double* value, double* gradient) {
    if (blockIdx.x == gridDim.x - 1) {
        double v = 0.0;
        for (int r = threadIdx.x; r < n; r += BLOCK) v += z[r] * z[r];
        v = block_sum<BLOCK>(v);
        if (threadIdx.x == 0) *value = 0.5 * v;
        return;
    }
    const long long t = (long long)blockIdx.x * BLOCK + threadIdx.x;
    if (t >= 3ll * n_atoms) return;
    const int atom = (int)(t / 3), axis = (int)(t % 3);
    double sum = 0.0;
    for (int e = first[atom]; e < first[atom + 1]; e++) sum += z[entries[e] / width] * jacobian[3 * entries[e] + axis];
    gradient[t] = sum;
}

// ---- all restraints at once

// One restraint of a kind: its value; what it pulls goes to its slots, which follow the order of `index`. Outliers
// beyond a limit are restrained more firmly: see `with_firm_outliers`.
template <int KIND>
__device__ double pull_of_term(int r, int n, const double* xyz, const int* index, const double* ideal,
                               const double* sigma, const int* period, const double* root, const double* limit,
                               double weight, double* pull) {
    if (r >= n) return 0.0;
    constexpr int W = width(KIND);
    double3 j[W];
    const double z = term<KIND>(xyz, index + (long long)W * r, ideal[r], sigma[r], KIND == TORSION ? period[r] : 1, j);
    const double u = KIND == TORSION ? 0.0 : fmax(fabs(z) / root[r] - limit[r], 0.0), part = u / (1.0 + u);
    const double slope = z + copysign(root[r] * weight * part * part * (1.5 + u), z);
    for (int k = 0; k < W; k++) store(pull + 3 * ((long long)W * r + k), slope * j[k]);
    return 0.5 * (z * z + root[r] * root[r] * weight * part * u * u);
}

// With normal and centroid held fixed, which is exact for the sum over the plane.
__device__ double pull_of_plane(int p, int n, const int* first, const double* xyz, const int* index,
                                const double* sigma, double* pull) {
    if (p >= n) return 0.0;
    const int start = first[p], end = first[p + 1];
    const Plane best = best_plane(xyz, index + start, sigma + start, end - start);
    double value = 0.0;
    for (int k = start; k < end; k++) {
        const double z = dot(load(xyz, index[k]) - best.centroid, best.normal) / sigma[k];
        store(pull + 3ll * k, z / sigma[k] * best.normal);
        value += 0.5 * z * z;
    }
    return value;
}

// A block (x) works on restraints of one kind, so its threads do not diverge; models are in y. `index`, `ideal` and
// `sigma` hold bonds, angles, torsions, chiralities and (without ideals) planes end to end. `pull` has n_slots rows
// per model, one for each entry of `index`. `root`, as `ideal`, is of the share that a sigma has; `limit` has as many
// values per model. `partial` has the sum of the values of each block.
extern "C" __global__ void __launch_bounds__(BLOCK)
restraints(int n_atoms, int n_slots, int n_bonds, int n_angles, int n_torsions, int n_chiralities, int n_planes,
           const double* xyz, const int* index, const double* ideal, const double* sigma, const int* period,
           const int* first_of_plane, const double* root, const double* limit, double weight, double* pull,
           double* partial) {
    const auto blocks = [](int n) { return (n + BLOCK - 1) / BLOCK; };
    const auto next = [&](int n, int kind) {
        const long long slots = (long long)n * width(kind);
        index += slots, pull += 3 * slots, ideal += n, sigma += n, root += n, limit += n;
        return blocks(n);
    };
    const long long model = blockIdx.y;
    xyz += 3 * model * n_atoms;
    pull += 3 * model * n_slots;
    limit += model * (n_bonds + n_angles + n_torsions + n_chiralities);
    int block = blockIdx.x;
    double value;
    if (block < blocks(n_bonds)) {
        value = pull_of_term<BOND>(block * BLOCK + threadIdx.x, n_bonds, xyz, index, ideal, sigma, period,
                                   root, limit, weight, pull);
    } else if ((block -= next(n_bonds, BOND)) < blocks(n_angles)) {
        value = pull_of_term<ANGLE>(block * BLOCK + threadIdx.x, n_angles, xyz, index, ideal, sigma, period,
                                    root, limit, weight, pull);
    } else if ((block -= next(n_angles, ANGLE)) < blocks(n_torsions)) {
        value = pull_of_term<TORSION>(block * BLOCK + threadIdx.x, n_torsions, xyz, index, ideal, sigma, period,
                                      root, limit, weight, pull);
    } else if ((block -= next(n_torsions, TORSION)) < blocks(n_chiralities)) {
        value = pull_of_term<CHIRALITY>(block * BLOCK + threadIdx.x, n_chiralities, xyz, index, ideal, sigma, period,
                                        root, limit, weight, pull);
    } else {
        block -= next(n_chiralities, CHIRALITY);
        value = pull_of_plane(block * BLOCK + threadIdx.x, n_planes, first_of_plane, xyz, index, sigma, pull);
    }
    value = block_sum<BLOCK>(value);
    if (threadIdx.x == 0) partial[model * gridDim.x + blockIdx.x] = value;
}

// Gradient by each coordinate (x) of each model (y) from its slots slots[first[a]..first[a + 1]]; the last block
// makes the value from the sums of the n_partial blocks.
extern "C" __global__ void __launch_bounds__(BLOCK)
sum_pulls(int n_atoms, int n_slots, int n_partial, const int* first, const int* slots, const double* pull,
          const double* partial, double* value, double* gradient) {
    const long long model = blockIdx.y;
    if (blockIdx.x == gridDim.x - 1) {
        double v = 0.0;
        for (int k = threadIdx.x; k < n_partial; k += BLOCK) v += partial[model * n_partial + k];
        v = block_sum<BLOCK>(v);
        if (threadIdx.x == 0) value[model] = v;
        return;
    }
    const long long t = (long long)blockIdx.x * BLOCK + threadIdx.x;
    if (t >= 3ll * n_atoms) return;
    const int atom = (int)(t / 3), axis = (int)(t % 3);
    pull += 3 * model * n_slots + axis;
    double sum = 0.0;
    for (int k = first[atom]; k < first[atom + 1]; k++) sum += pull[3ll * slots[k]];
    gradient[3 * model * n_atoms + t] = sum;
}
