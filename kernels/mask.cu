// Flat bulk-solvent mask; its definition is in mask.py.
//
// The cell is held as one bit per grid point, set where an atom covers it; rows along c start on a new word. `cover`:
// one warp owns one symmetry copy of an atom, a lane some of the grid columns along c that its sphere may cut, each in
// one run. Bits are set by integer atomics: whatever the order of the threads, the result is the same. `solvent`: one
// thread owns one point and looks for an uncovered one within the shrink distance.

typedef unsigned int Word;

#define COPIES 4  // of a block, one per warp
#define POINTS 256

__device__ __forceinline__ int wrap(int i, int n) {
    const int rest = i % n;
    return rest < 0 ? rest + n : rest;
}

__device__ __forceinline__ void set_bits(Word* row, int begin, int end) {
    for (int word = begin / 32; word * 32 < end; word++) {
        const int low = max(begin - word * 32, 0), high = min(end - word * 32, 32);
        atomicOr(&row[word], (high == 32 ? ~0u : (1u << high) - 1u) & (~0u << low));
    }
}

// Sets the periodic run of `count` points from `first` in a row of n.
__device__ __forceinline__ void set_run(Word* row, int n, int first, int count) {
    if (count >= n) {
        set_bits(row, 0, n);
        return;
    }
    const int begin = wrap(first, n), end = begin + count;
    set_bits(row, begin, min(end, n));
    if (end > n) set_bits(row, 0, end - n);
}

// shadow: squared length of the grid vector c; slopes of the middles of the runs along a and b; the quadratic form q of
// the sphere's shadow along c (aa, ab, bb); the half-widths along a and b of the shadow of level 1.
extern "C" __global__ void __launch_bounds__(32 * COPIES)
    cover(int n_atoms, int n_operators, const double* __restrict__ fractional, const double* __restrict__ radius,
          const int* __restrict__ rotations, const double* __restrict__ translations,
          const double* __restrict__ shadow, int nu, int nv, int nw, int words, Word* bits) {
    const long long copy = (long long)blockIdx.x * COPIES + threadIdx.x / 32;
    const int lane = threadIdx.x % 32;
    if (copy >= (long long)n_atoms * n_operators) return;
    const int atom = (int)(copy / n_operators), g = (int)(copy % n_operators), n[3] = {nu, nv, nw};
    const double* x = fractional + 3ll * atom;
    int centre[3];
    double d[3];  // of the atom from the nearest grid point, in grid units
    for (int i = 0; i < 3; i++) {
        const int* r = rotations + 9 * g + 3 * i;
        const double moved = r[0] * x[0] + r[1] * x[1] + r[2] * x[2] + translations[3 * g + i];
        const double position = (moved - floor(moved)) * n[i];
        if (!(position >= 0.0)) return;  // not a number
        centre[i] = (int)rint(position);
        d[i] = position - centre[i];
    }
    const double aa = shadow[3], ab = shadow[4], bb = shadow[5];
    const double level = radius[atom] * radius[atom] / shadow[0];  // half a run, squared
    if (!(level >= 0.0)) return;
    const int wide_u = (int)floor(sqrt(level) * shadow[6] + 0.5), wide_v = (int)floor(sqrt(level) * shadow[7] + 0.5);
    const int columns = 2 * wide_v + 1, total = (2 * wide_u + 1) * columns;
    for (int i = lane; i < total; i += 32) {
        const int u = i / columns - wide_u, v = i % columns - wide_v;
        const double a = u - d[0], b = v - d[1];
        const double rest = level - (aa * a + 2.0 * ab * b) * a - bb * (b * b);
        if (!(rest >= 0.0)) continue;
        const double half = sqrt(rest), middle = d[2] - shadow[1] * a - shadow[2] * b;
        const double first = ceil(middle - half), last = floor(middle + half);
        if (last < first) continue;
        Word* row = bits + ((long long)wrap(centre[0] + u, nu) * nv + wrap(centre[1] + v, nv)) * words;
        set_run(row, nw, centre[2] + (int)first, (int)(last - first) + 1);
    }
}

// offsets (n, 3): grid points within the shrink distance of the origin, nearest first.
extern "C" __global__ void __launch_bounds__(POINTS)
    solvent(const Word* __restrict__ bits, const int* __restrict__ offsets, int n_offsets, int nu, int nv, int nw,
            int words, bool* __restrict__ mask) {
    const long long point = (long long)blockIdx.x * POINTS + threadIdx.x;
    if (point >= (long long)nu * nv * nw) return;
    const int w = (int)(point % nw), v = (int)(point / nw % nv), u = (int)(point / nw / nv);
    bool found = false;
    for (int i = 0; i < n_offsets && !found; i++) {
        const int* o = offsets + 3 * i;
        const int at = wrap(w + o[2], nw);
        const Word word = bits[((long long)wrap(u + o[0], nu) * nv + wrap(v + o[1], nv)) * words + at / 32];
        found = !(word >> (at % 32) & 1u);
    }
    mask[point] = found;
}
