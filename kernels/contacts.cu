// Repulsion of atoms that are not bonded, symmetry mates included; the formulas are in contacts.py. Float64 throughout.
//
// An evaluation looks first how far the atoms of each model (y of every grid) are from where its list was made. The
// kernels from `bin_images` to `list_contacts` return at once for a model whose list still holds. They put all images
// of the atoms into bins of the unit cell, and each atom then looks through the bins around it. Every atom has a list
// of its own, so each contact stands in two lists and nothing is scattered. Places in memory come from integer
// atomics, but bins are sorted and lists follow the bins, so every sum has one order.

#include "limits.cuh"
#include "sums.cuh"

#define BLOCK 128
#define LANES 8  // threads that share an atom in `repulsion`
#define FARTHEST 127        // lattice vectors, along each axis
#define IDENTITY 0x808080u  // image: operator << 24 | lattice vector + 128, 8 bits for each axis
#define ONE_FOUR 0xff808080u  // the other atom as given, three bonds away
#define TOO_MANY 1          // bits of the status
#define NOT_FINITE 2
#define TOO_FAR 4
#define EXCLUDED 1  // bits of the rules
#define EXCLUDED_IMAGE 2
#define SOFTENED 4

__device__ constexpr double TINY = 1e-12;

inline __device__ double3 operator+(double3 a, double3 b) { return make_double3(a.x + b.x, a.y + b.y, a.z + b.z); }
inline __device__ double3 operator-(double3 a, double3 b) { return make_double3(a.x - b.x, a.y - b.y, a.z - b.z); }
inline __device__ double3 operator*(double s, double3 a) { return make_double3(s * a.x, s * a.y, s * a.z); }
inline __device__ double dot(double3 a, double3 b) { return a.x * b.x + a.y * b.y + a.z * b.z; }
inline __device__ double3 load(const double* p) { return make_double3(p[0], p[1], p[2]); }

template <class T> inline __device__ double3 product(const T* m, double3 a) {
    return make_double3(m[0] * a.x + m[1] * a.y + m[2] * a.z, m[3] * a.x + m[4] * a.y + m[5] * a.z,
                        m[6] * a.x + m[7] * a.y + m[8] * a.z);
}

// ---- images

inline __device__ int3 lattice_of(unsigned image) {
    return make_int3((int)(image >> 16 & 255) - 128, (int)(image >> 8 & 255) - 128, (int)(image & 255) - 128);
}

inline __device__ bool fits(int3 a) { return abs(a.x) <= FARTHEST && abs(a.y) <= FARTHEST && abs(a.z) <= FARTHEST; }

inline __device__ unsigned pack(unsigned op, int3 a) {
    return op << 24 | (unsigned)(a.x + 128) << 16 | (unsigned)(a.y + 128) << 8 | (unsigned)(a.z + 128);
}

// `values`: fractional from Cartesian (9), Cartesian from fractional (9), reach of the search along the axes of the
// cell (3); then the Cartesian rotation (9) and the fractional translation (3) of each operator. `operators`: the
// fractional rotation (9) and the number of the inverse of each.
struct Symmetry {
    const double* values;
    const int* operators;

    __device__ __forceinline__ const double* rotation(unsigned op) const { return values + 21 + 12 * op; }
    __device__ __forceinline__ double3 translation(unsigned op) const { return load(rotation(op) + 9); }
    __device__ __forceinline__ double3 fractional(double3 x) const { return product(values, x); }

    __device__ __forceinline__ double3 moved(double3 x, unsigned image) const {
        const unsigned op = image >> 24;
        const int3 a = lattice_of(image);
        return product(rotation(op), x) + product(values + 9, translation(op) + make_double3(a.x, a.y, a.z));
    }

    __device__ __forceinline__ double3 turned_back(double3 v, unsigned image) const {
        const double* r = rotation(image >> 24);
        return make_double3(r[0] * v.x + r[3] * v.y + r[6] * v.z, r[1] * v.x + r[4] * v.y + r[7] * v.z,
                            r[2] * v.x + r[5] * v.y + r[8] * v.z);
    }

    // The operation that undoes the one of an image.
    __device__ __forceinline__ unsigned inverse(unsigned image, bool& possible) const {
        const unsigned op = image >> 24, back = (unsigned)operators[10 * op + 9];
        const int3 a = lattice_of(image);
        const double3 t = translation(back) +
                          product(operators + 10 * back, translation(op) + make_double3(a.x, a.y, a.z));
        const int3 b = make_int3((int)rint(-t.x), (int)rint(-t.y), (int)rint(-t.z));
        possible = fits(b);
        return pack(back, b);
    }
};

// From the (image of the) later atom of a pair to the earlier one; i at x, j at y.
inline __device__ double3 separation(const Symmetry& symmetry, int i, double3 x, int j, double3 y, unsigned image) {
    const double3 earlier = j < i ? y : x, later = j < i ? x : y;
    return earlier - (image == IDENTITY || image == ONE_FOUR ? later : symmetry.moved(later, image));
}

// ---- rules

// `nature`: kind, conformer, whether held, multiplicity. `limit`: distance below which atoms of two kinds repel, for
// most pairs and for atoms 1-4. `rule`: 8 * other + bits, ascending, rule[first[i]..first[i + 1]] of atom i.
struct Rules {
    int n_kinds;
    const int4* nature;
    const double* limit;
    const int* first;
    const int* rule;

    __device__ __forceinline__ double distance(int i, int j, unsigned image) const {
        return limit[((image == ONE_FOUR ? n_kinds : 0) + nature[i].x) * n_kinds + nature[j].x];
    }

    __device__ __forceinline__ int between(int i, int j) const {
        int low = first[i], high = first[i + 1];
        while (low < high) {
            const int middle = (low + high) / 2;
            if (rule[middle] >> 3 < j) low = middle + 1;
            else high = middle;
        }
        return low < first[i + 1] && rule[low] >> 3 == j ? rule[low] & 7 : 0;
    }

    // Whether the atoms may meet; marks the image of atoms 1-4.
    __device__ __forceinline__ bool allow(int i, int j, const double* occupancy, double together,
                                          unsigned& image) const {
        const int4 a = nature[i], b = nature[j];
        const double p = occupancy[i], q = occupancy[j];
        if (!(p > 0.0 && q > 0.0) || (a.z && b.z) || (a.y && b.y && a.y != b.y)) return false;
        const int bits = between(i, j);
        if (image != IDENTITY) return p + q > together && !(bits & EXCLUDED_IMAGE);
        if (bits & SOFTENED) image = ONE_FOUR;
        return !(bits & EXCLUDED);
    }
};

// ---- is the list still good?

// Squared distance `limit` from where the atoms were `listed` makes a list stale; so does what is not a number.
extern "C" __global__ void check_moves(int n, double limit, const double* xyz, const double* listed, int* stale,
                                       int* status) {
    const int model = blockIdx.y, atom = blockIdx.x * BLOCK + threadIdx.x;
    if (atom == 0) status[model] = 0;
    if (atom >= n) return;
    const long long at = 3 * ((long long)model * n + atom);
    const double3 moved = load(xyz + at) - load(listed + at);
    if (!(dot(moved, moved) < limit)) stale[model] = 1;
}

// ---- bins of the unit cell: nu x nv rows of nw bins, with a place behind each row for its end

// One thread for an image e = operator * n + atom: brings it into the cell, finds its bin (`slot`, -1 for none) and a
// rank in it.
extern "C" __global__ void __launch_bounds__(BLOCK)
bin_images(int n, int n_operators, int nu, int nv, int nw, const double* xyz, const double* values,
           const int* operators, const int* stale, double* listed, int* count, int* slot, int* rank, unsigned* image,
           int* taken, unsigned long long* total, int* status) {
    const long long model = blockIdx.y, n_images = (long long)n * n_operators;
    const long long e = (long long)blockIdx.x * BLOCK + threadIdx.x;
    if (!stale[model] || e >= n_images) return;
    const unsigned op = (unsigned)(e / n);
    const long long at = 3 * (model * n + e % n);
    const Symmetry symmetry = {values, operators};
    const double3 x = load(xyz + at);
    if (e == 0) taken[model] = 0, total[model] = 0;
    if (op == 0) listed[at] = x.x, listed[at + 1] = x.y, listed[at + 2] = x.z;
    slot += model * n_images;
    slot[e] = -1;
    const double3 f = product(operators + 10 * op, symmetry.fractional(x)) + symmetry.translation(op);
    const double farthest = fmax(fabs(f.x), fmax(fabs(f.y), fabs(f.z))) + 0.0 * (f.x + f.y + f.z);
    if (!(farthest < FARTHEST)) {
        atomicOr(&status[model], farthest - farthest == 0.0 ? TOO_FAR : NOT_FINITE);
        return;
    }
    const int3 a = make_int3((int)floor(f.x), (int)floor(f.y), (int)floor(f.z));
    const int u = min((int)((f.x - a.x) * nu), nu - 1), v = min((int)((f.y - a.y) * nv), nv - 1);
    const int w = min((int)((f.z - a.z) * nw), nw - 1);
    const int place = (u * nv + v) * (nw + 1) + w;
    slot[e] = place;
    rank[model * n_images + e] = atomicAdd(&count[model * nu * nv * (nw + 1) + place], 1);
    image[model * n_images + e] = pack(op, make_int3(-a.x, -a.y, -a.z));
}

// A warp for a row: takes a stretch for its images, tells each bin where it begins, and clears the counts.
extern "C" __global__ void __launch_bounds__(BLOCK)
number_rows(int n_rows, int nw, const int* stale, int* count, int* begin, int* taken) {
    const long long model = blockIdx.y;
    const int row = blockIdx.x * (BLOCK / 32) + threadIdx.x / 32, lane = threadIdx.x & 31;
    if (!stale[model] || row >= n_rows) return;  // the same for all lanes of a warp
    count += (model * n_rows + row) * (nw + 1);
    begin += (model * n_rows + row) * (nw + 1);
    int sum = 0;
    for (int w = lane; w < nw; w += 32) sum += count[w];
    sum = warp_sum(sum);
    int start = lane == 0 ? atomicAdd(&taken[model], sum) : 0;
    start = __shfl_sync(FULL, start, 0);
    for (int w = lane; w - lane <= nw; w += 32) {  // with the place behind the row
        const int own = w < nw ? count[w] : 0;
        int up_to = own;
        for (int step = 1; step < 32; step *= 2) {
            const int before = __shfl_up_sync(FULL, up_to, step);
            if (lane >= step) up_to += before;
        }
        if (w <= nw) begin[w] = start + up_to - own, count[w] = 0;
        start += __shfl_sync(FULL, up_to, 31);
    }
}

extern "C" __global__ void __launch_bounds__(BLOCK)
place_images(int n_images, int n_bins, const int* stale, const int* slot, const int* rank, const int* begin,
             int* placed) {
    const long long model = blockIdx.y;
    const long long e = (long long)blockIdx.x * BLOCK + threadIdx.x;
    if (!stale[model] || e >= n_images) return;
    const long long at = model * n_images + e;
    if (slot[at] >= 0) placed[model * n_images + begin[model * n_bins + slot[at]] + rank[at]] = (int)e;
}

// Sorts the images of each bin by their number; `sorted` has the atom and the image.
extern "C" __global__ void __launch_bounds__(BLOCK)
order_bins(int n, int n_images, int n_bins, const int* stale, const int* slot, const int* begin, const int* placed,
           const unsigned* image, uint2* sorted) {
    const long long model = blockIdx.y, own = model * n_images;
    const long long e = (long long)blockIdx.x * BLOCK + threadIdx.x;
    if (!stale[model] || e >= n_images || slot[own + e] < 0) return;
    const int* bin = begin + model * n_bins + slot[own + e];
    int place = bin[0];
    for (int k = bin[0]; k < bin[1]; k++) place += placed[own + k] < e;
    sorted[own + place] = make_uint2((unsigned)(e % n), image[own + e]);
}

// ---- lists

struct Search {
    Symmetry symmetry;
    Rules rules;
    const double *xyz, *occupancy;
    double reach, skin, own_image, together;
    int i;
    double3 x;

    // Whether an image in a bin, one of the copy `cell` of the unit cell, belongs into the list of atom i, and how.
    __device__ __forceinline__ bool accept(uint2 found, int3 cell, uint2& entry, int& trouble) const {
        const int j = (int)found.x;
        const int3 wrap = lattice_of(found.y), a = make_int3(wrap.x + cell.x, wrap.y + cell.y, wrap.z + cell.z);
        bool possible = fits(a);
        unsigned image = pack(found.y >> 24, a);
        if (possible && image != IDENTITY && j < i) image = symmetry.inverse(image, possible);
        if (!possible) {
            trouble = TOO_FAR;
            return false;
        }
        if (image == IDENTITY && i == j) return false;
        const double3 delta = separation(symmetry, i, x, j, load(xyz + 3ll * j), image);
        const double squared = dot(delta, delta);
        if (!(squared <= reach * reach) || (i == j && squared < own_image * own_image)) return false;
        if (!rules.allow(i, j, occupancy, together, image)) return false;
        const double limit = rules.distance(i, j, image) + skin;
        entry = make_uint2(found.x, image);
        return squared < limit * limit;
    }
};

// A warp lists the contacts of an atom: it goes twice through the bins around it, to count, which gives the atom its
// stretch of the `entries` of the model, and to write. What finds no room is counted in `total` all the same.
extern "C" __global__ void __launch_bounds__(BLOCK, 4)
list_contacts(int n, int n_images, int nu, int nv, int nw, int n_kinds, int capacity, int own_occupancy, double reach,
              double skin, double own_image, double together, const double* xyz, const double* occupancy,
              const double* values, const int* operators, const int4* nature, const double* limit,
              const int* first_rule, const int* rule, const int* stale, const int* begin, const uint2* sorted,
              unsigned long long* total, int* first, int* length, uint2* entries, int* status) {
    const long long model = blockIdx.y;
    const int i = blockIdx.x * (BLOCK / 32) + threadIdx.x / 32, lane = threadIdx.x & 31;
    if (!stale[model] || i >= n) return;  // the same for all lanes of a warp
    xyz += 3 * model * n;
    begin += model * nu * nv * (nw + 1);
    sorted += model * n_images;
    const Symmetry symmetry = {values, operators};
    const double3 x = load(xyz + 3ll * i), f = symmetry.fractional(x), margin = load(values + 18);
    const Search search = {symmetry, {n_kinds, nature, limit, first_rule, rule}, xyz,
                           occupancy + (own_occupancy ? model * n : 0), reach, skin, own_image, together, i, x};
    const bool placed = fabs(f.x) < FARTHEST && fabs(f.y) < FARTHEST && fabs(f.z) < FARTHEST;
    const int u0 = placed ? (int)floor((f.x - margin.x) * nu) : 0, u1 = placed ? (int)floor((f.x + margin.x) * nu) : -1;
    const int v0 = placed ? (int)floor((f.y - margin.y) * nv) : 0, v1 = placed ? (int)floor((f.y + margin.y) * nv) : -1;
    const int w0 = placed ? (int)floor((f.z - margin.z) * nw) : 0, w1 = placed ? (int)floor((f.z + margin.z) * nw) : -1;
    entries += model * capacity;
    unsigned long long start = 0;
    int found = 0, room = 0, trouble = 0;
#pragma unroll 1
    for (int write = 0; write < 2; write++) {
        found = 0;
        for (int u = u0; u <= u1; u++)
            for (int v = v0; v <= v1; v++)
                for (int w = w0; w <= w1;) {  // bins of one row that stand together
                    const int3 cell = make_int3(floor_divide(u, nu), floor_divide(v, nv), floor_divide(w, nw));
                    const int end = min(w1, cell.z * nw + nw - 1);
                    const int* row = begin + ((u - cell.x * nu) * nv + v - cell.y * nv) * (nw + 1) - cell.z * nw;
                    for (int k = row[w]; k < row[end + 1]; k += 32) {
                        uint2 entry;
                        const bool good = k + lane < row[end + 1] &&
                                          search.accept(sorted[k + lane], cell, entry, trouble);
                        const unsigned votes = __ballot_sync(FULL, good);
                        const int place = found + __popc(votes & ((1u << lane) - 1u));
                        if (good && place < room) entries[start + place] = entry;
                        found += __popc(votes);
                    }
                    w = end + 1;
                }
        if (write) break;
        if (lane == 0) start = atomicAdd(&total[model], (unsigned long long)found);
        start = __shfl_sync(FULL, start, 0);
        if (start + found > (unsigned long long)capacity) {
            trouble |= TOO_MANY;
            break;
        }
        room = found;
    }
    if (trouble) atomicOr(&status[model], trouble);
    if (lane == 0) {
        first[model * n + i] = room ? (int)start : 0;
        length[model * n + i] = min(room, found);
    }
}

// ---- energy

// LANES threads add up the contacts of an atom. The earlier atom of a pair counts its energy, and an atom's contact
// with its own image, which stands in its list as seen from both ends, counts half. `partial` has the sum of each
// block. A list that is not complete gives no numbers.
extern "C" __global__ void __launch_bounds__(BLOCK)
repulsion(int n, int n_kinds, int capacity, double sigma, const double* xyz, const double* values,
          const int* operators, const int4* nature, const double* limit, const int* first, const int* length,
          const uint2* entries, const int* status, double* gradient, double* partial) {
    const long long model = blockIdx.y;
    const int i = (blockIdx.x * BLOCK + threadIdx.x) / LANES, lane = threadIdx.x % LANES;
    const Symmetry symmetry = {values, operators};
    const Rules rules = {n_kinds, nature, limit, 0, 0};
    xyz += 3 * model * n;
    double value = status[model] ? __longlong_as_double(0x7ff8000000000000ll) : 0.0;
    double3 slope = make_double3(value, value, value);
    if (i < n && !status[model]) {
        const double3 x = load(xyz + 3ll * i);
        const uint2* own = entries + model * capacity + first[model * n + i];
        for (int k = lane; k < length[model * n + i]; k += LANES) {
            const int j = (int)own[k].x;
            const unsigned image = own[k].y;
            const double3 delta = separation(symmetry, i, x, j, load(xyz + 3ll * j), image);
            const double squared = dot(delta, delta), d0 = rules.distance(i, j, image);
            if (!(squared < d0 * d0)) continue;
            const double distance = sqrt(squared), z = (distance - d0) / sigma;
            const double weight = 1.0 / (nature[i].w * nature[j].w);
            const double3 pull = weight * z / (sigma * fmax(distance, TINY)) * delta;
            const bool as_given = image == IDENTITY || image == ONE_FOUR;
            const double3 back = as_given || i < j ? pull : symmetry.turned_back(pull, image);
            slope = slope + (i < j ? pull : i == j ? 0.5 * (pull - back) : -1.0 * back);
            value += (i < j ? 0.5 : i == j ? 0.25 : 0.0) * weight * z * z;
        }
    }
    for (int step = LANES / 2; step > 0; step /= 2) {
        slope.x += __shfl_xor_sync(FULL, slope.x, step);
        slope.y += __shfl_xor_sync(FULL, slope.y, step);
        slope.z += __shfl_xor_sync(FULL, slope.z, step);
    }
    if (i < n && lane < 3) gradient[3 * (model * n + i) + lane] = lane == 0 ? slope.x : lane == 1 ? slope.y : slope.z;
    value = block_sum<BLOCK>(value);
    if (threadIdx.x == 0) partial[model * gridDim.x + blockIdx.x] = value;
}

// Value of each model (x) from the sums of its blocks; a list that is not complete is made again next time.
extern "C" __global__ void __launch_bounds__(BLOCK)
sum_values(int n_partial, const double* partial, const int* status, int* stale, double* value) {
    const long long model = blockIdx.x;
    double v = 0.0;
    for (int k = threadIdx.x; k < n_partial; k += BLOCK) v += partial[model * n_partial + k];
    v = block_sum<BLOCK>(v);
    if (threadIdx.x == 0) value[model] = v, stale[model] = status[model] != 0;
}
