// What an evaluation does to vectors and atoms around the kernels proper; float64 throughout. The NumPy twins are
// Parameters, riding and StructureFactors of the package.
//
// Blocks (x) share the atoms, or the entries of the vector, of one model (y). Arrays that may be shared by all models
// come with `own`: 1 where every model has its own row, 0 where there is one row for all.

#define BLOCK 128

// ---- the vector: [xyz of the free atoms, their B, their occupancies]

// Entry of the vector where the coordinates, B and occupancy of an atom begin, -1 where they are not refined.
struct Slots {
    int xyz, b, occupancy;
};

__device__ __forceinline__ Slots slots_of(const int* __restrict__ slot, int atom) {
    return {slot[3ll * atom], slot[3ll * atom + 1], slot[3ll * atom + 2]};
}

// Values of all atoms. Atoms on special positions stay there: their shift is projected onto what the site allows.
// Riding atoms stay at their vector from the parent, which is never a riding atom itself, and keep the ratios of their
// B and occupancy to the parent's.
extern "C" __global__ void __launch_bounds__(BLOCK)
    unpack(int n, int size, int own, const int* __restrict__ slot, const int* __restrict__ parent,
           const double* __restrict__ projection, const double* __restrict__ xyz, const double* __restrict__ b,
           const double* __restrict__ occupancy, const double* __restrict__ b_ratio,
           const double* __restrict__ occupancy_ratio, const double* __restrict__ x, double* __restrict__ new_xyz,
           double* __restrict__ new_b, double* __restrict__ new_occupancy) {
    const int atom = blockIdx.x * BLOCK + threadIdx.x;
    if (atom >= n) return;
    const long long reference = own * (long long)blockIdx.y * n, out = (long long)blockIdx.y * n + atom;
    const int rides_on = parent[atom], source = rides_on < 0 ? atom : rides_on;
    const Slots at = slots_of(slot, source);
    const double* v = x + (long long)blockIdx.y * size;
    const double* r = xyz + 3 * (reference + source);
    double moved[3] = {r[0], r[1], r[2]};
    if (at.xyz >= 0) {
        const double* p = projection + 9ll * source;
        const double dx = v[at.xyz] - r[0], dy = v[at.xyz + 1] - r[1], dz = v[at.xyz + 2] - r[2];
#pragma unroll
        for (int i = 0; i < 3; i++) moved[i] += p[3 * i] * dx + p[3 * i + 1] * dy + p[3 * i + 2] * dz;
    }
    double new_b_iso = at.b >= 0 ? v[at.b] : b[reference + source];
    double new_q = at.occupancy >= 0 ? v[at.occupancy] : occupancy[reference + source];
    if (rides_on >= 0) {
        const double* own_place = xyz + 3 * (reference + atom);
#pragma unroll
        for (int i = 0; i < 3; i++) moved[i] += own_place[i] - r[i];
        new_b_iso *= b_ratio[reference + atom];
        new_q *= occupancy_ratio[reference + atom];
    }
#pragma unroll
    for (int i = 0; i < 3; i++) new_xyz[3 * out + i] = moved[i];
    new_b[out] = new_b_iso;
    new_occupancy[out] = new_q;
}

struct Pull {
    double x, y, z, b, occupancy;
};

// Derivatives by an atom and by those that ride on it, in the order of the list.
__device__ __forceinline__ Pull folded(int atom, long long reference, long long model, const int* __restrict__ first,
                                       const int* __restrict__ child, const double* __restrict__ b_ratio,
                                       const double* __restrict__ occupancy_ratio,
                                       const double* __restrict__ d_xyz, const double* __restrict__ d_b,
                                       const double* __restrict__ d_occupancy) {
    const long long self = model + atom;
    Pull g = {d_xyz[3 * self], d_xyz[3 * self + 1], d_xyz[3 * self + 2], d_b[self], d_occupancy[self]};
#pragma unroll 1  // few ride on one atom
    for (int i = first[atom]; i < first[atom + 1]; i++) {
        const int rider = child[i];
        const long long other = model + rider;
        g.x += d_xyz[3 * other];
        g.y += d_xyz[3 * other + 1];
        g.z += d_xyz[3 * other + 2];
        g.b += d_b[other] * b_ratio[reference + rider];
        g.occupancy += d_occupancy[other] * occupancy_ratio[reference + rider];
    }
    return g;
}

// Adjoint of `unpack`. Every entry of the vector belongs to one atom.
extern "C" __global__ void __launch_bounds__(BLOCK)
    pullback(int n, int size, int own, const int* __restrict__ slot, const int* __restrict__ first,
             const int* __restrict__ child, const double* __restrict__ projection,
             const double* __restrict__ b_ratio, const double* __restrict__ occupancy_ratio,
             const double* __restrict__ d_xyz, const double* __restrict__ d_b, const double* __restrict__ d_occupancy,
             double* __restrict__ gradient) {
    const int atom = blockIdx.x * BLOCK + threadIdx.x;
    if (atom >= n) return;
    const Slots at = slots_of(slot, atom);
    if (at.xyz < 0 && at.b < 0 && at.occupancy < 0) return;
    const long long model = (long long)blockIdx.y * n;
    const Pull g =
        folded(atom, own * model, model, first, child, b_ratio, occupancy_ratio, d_xyz, d_b, d_occupancy);
    double* out = gradient + (long long)blockIdx.y * size;
    if (at.xyz >= 0) {
        const double* p = projection + 9ll * atom;
#pragma unroll
        for (int i = 0; i < 3; i++) out[at.xyz + i] = p[i] * g.x + p[i + 3] * g.y + p[i + 6] * g.z;
    }
    if (at.b >= 0) out[at.b] = g.b;
    if (at.occupancy >= 0) out[at.occupancy] = g.occupancy;
}

// Derivatives by the atoms that do not ride; those of riding atoms become zero.
extern "C" __global__ void __launch_bounds__(BLOCK)
    fold(int n, int own, const int* __restrict__ parent, const int* __restrict__ first, const int* __restrict__ child,
         const double* __restrict__ b_ratio, const double* __restrict__ occupancy_ratio,
         const double* __restrict__ d_xyz, const double* __restrict__ d_b, const double* __restrict__ d_occupancy,
         double* __restrict__ new_xyz, double* __restrict__ new_b, double* __restrict__ new_occupancy) {
    const int atom = blockIdx.x * BLOCK + threadIdx.x;
    if (atom >= n) return;
    const long long model = (long long)blockIdx.y * n, out = model + atom;
    Pull g = {0.0, 0.0, 0.0, 0.0, 0.0};
    if (parent[atom] < 0)
        g = folded(atom, own * model, model, first, child, b_ratio, occupancy_ratio, d_xyz, d_b, d_occupancy);
    new_xyz[3 * out] = g.x;
    new_xyz[3 * out + 1] = g.y;
    new_xyz[3 * out + 2] = g.z;
    new_b[out] = g.b;
    new_occupancy[out] = g.occupancy;
}

// ---- Gaussians of the atoms

__device__ constexpr double FOUR_PI_SQUARED = 39.478417604357434475, PI = 3.14159265358979323846;
__device__ constexpr double LEAST_WIDTH = 0.1;  // square Angstrom

// Density of one electron is (k/pi)^{3/2} e^{-k r^2} with k = 4 pi^2 / (B + blur).
__device__ __forceinline__ double per_electron(double k) { return k / PI * sqrt(k / PI); }

// `depth` is -ln of the fraction of its centre at which a Gaussian is cut off. B + `blur` + `shift` is the width, the
// shift (a null pointer for none) being that of an atom in every model. Models in y.
extern "C" __global__ void __launch_bounds__(BLOCK)
    gaussians(int n, double blur, double depth, const double* __restrict__ frac, const double* __restrict__ shift,
              const double* __restrict__ xyz, const double* __restrict__ b, const double* __restrict__ occupancy,
              double* __restrict__ fractional, double* __restrict__ amplitude, double* __restrict__ exponent,
              double* __restrict__ radius) {
    const int atom = blockIdx.x * BLOCK + threadIdx.x;
    if (atom >= n) return;
    const long long i = (long long)blockIdx.y * n + atom;
    const double x = xyz[3 * i], y = xyz[3 * i + 1], z = xyz[3 * i + 2];
#pragma unroll
    for (int k = 0; k < 3; k++) fractional[3 * i + k] = frac[3 * k] * x + frac[3 * k + 1] * y + frac[3 * k + 2] * z;
    const double k = FOUR_PI_SQUARED / fmax(b[i] + blur + (shift ? shift[atom] : 0.0), LEAST_WIDTH);
    exponent[i] = k;
    amplitude[i] = occupancy[i] * per_electron(k);
    radius[i] = sqrt(depth / k);
}

// Both the amplitude q (k/pi)^{3/2} and the exponent k depend on B.
extern "C" __global__ void __launch_bounds__(BLOCK)
    gaussians_pullback(long long n, const double* __restrict__ occupancy, const double* __restrict__ exponent,
                       const double* __restrict__ d_amplitude, const double* __restrict__ d_exponent,
                       double* __restrict__ d_b, double* __restrict__ d_occupancy) {
    const long long i = (long long)blockIdx.x * BLOCK + threadIdx.x;
    if (i >= n) return;
    const double k = exponent[i], unit = per_electron(k);
    const double by_exponent = d_exponent[i] + d_amplitude[i] * occupancy[i] * unit * 1.5 / k;
    d_b[i] = by_exponent * -(k * k) / FOUR_PI_SQUARED;
    d_occupancy[i] = d_amplitude[i] * unit;
}

// Derivatives by Cartesian coordinates from those by fractional ones.
extern "C" __global__ void __launch_bounds__(BLOCK)
    to_cartesian(int n, const double* __restrict__ frac, const double* __restrict__ d_fractional,
                 double* __restrict__ d_xyz) {
    const int i = blockIdx.x * BLOCK + threadIdx.x;
    if (i >= n) return;
    const double u = d_fractional[3ll * i], v = d_fractional[3ll * i + 1], w = d_fractional[3ll * i + 2];
#pragma unroll
    for (int k = 0; k < 3; k++) d_xyz[3ll * i + k] = u * frac[k] + v * frac[3 + k] + w * frac[6 + k];
}

// ---- the terms of an objective

// Sum of the X-ray term and the weighted others, null pointers for those left out. `weight` has those of geometry and ADP for each model (y). X-ray
// derivatives by xyz (3), B and occupancy are overwritten by those of the sum. `summary` has, for each model: the sum,
// the four terms, and the numbers by which contacts and density say what went wrong.
extern "C" __global__ void __launch_bounds__(BLOCK)
    add_terms(int n, const double* __restrict__ weight, const double* __restrict__ geometry_xyz,
              const double* __restrict__ contacts_xyz, const double* __restrict__ adp_b,
              const double* __restrict__ adp_xyz, const double* __restrict__ xray, const double* __restrict__ geometry,
              const double* __restrict__ contacts, const double* __restrict__ adp,
              const int* __restrict__ contacts_status, const int* __restrict__ density_status,
              double* __restrict__ d_xyz, double* __restrict__ d_b, double* __restrict__ summary) {
    const int model = blockIdx.y, atom = blockIdx.x * BLOCK + threadIdx.x;
    const double by_geometry = weight[2 * model], by_adp = weight[2 * model + 1];
    if (atom < n) {
        const long long i = (long long)model * n + atom;
        if (geometry_xyz) {
#pragma unroll
            for (int k = 0; k < 3; k++)
                d_xyz[3 * i + k] +=
                    by_geometry * (geometry_xyz[3 * i + k] + (contacts_xyz ? contacts_xyz[3 * i + k] : 0.0));
        }
        if (adp_b) d_b[i] += by_adp * adp_b[i];
        if (adp_xyz) {
#pragma unroll
            for (int k = 0; k < 3; k++) d_xyz[3 * i + k] += by_adp * adp_xyz[3 * i + k];
        }
    }
    if (atom == 0) {
        double* out = summary + 7 * model;
        out[1] = xray[model];
        out[2] = geometry ? geometry[model] : 0.0;
        out[3] = contacts ? contacts[model] : 0.0;
        out[4] = adp ? adp[model] : 0.0;
        out[0] = out[1] + by_geometry * (out[2] + out[3]) + by_adp * out[4];
        out[5] = contacts_status ? contacts_status[model] : 0;
        out[6] = density_status ? *density_status : 0;
    }
}

// Sum of complex or real numbers of two passes over the channels, into the first.
extern "C" __global__ void __launch_bounds__(BLOCK)
    add_pass(long long n, const double* __restrict__ pass, double* __restrict__ sum) {
    const long long i = (long long)blockIdx.x * BLOCK + threadIdx.x;
    if (i < n) sum[i] += pass[i];
}
