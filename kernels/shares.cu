// Occupancies that atoms share, and groups of atoms of which one or another is there; float64 throughout, all sums in one
// order. The NumPy twin is OccupancyGroups of the package.
//
// Models in y. `place` has for each atom the number of its group among those that are refined, -1 for none. Groups that
// exclude each other are a row, one that stands alone is a row of its own: those of row r are member[begins[r]] to
// member[begins[r + 1] - 1]. `entry` says where the value of a group is in the vector; the one group of a row that makes
// up for the others has -1. `own` is 1 where every model has reference values of its own, 0 where there is one set for
// all.

#include "limits.cuh"
#include "sums.cuh"

#define BLOCK 128

// Not fmax, which would hide a NaN.

// Of three or more groups the one without a value may fall below zero while each of the others is within its bounds.
__device__ __forceinline__ double share_of(int group, double least, const int* __restrict__ row,
                                           const int* __restrict__ begins, const int* __restrict__ member,
                                           const int* __restrict__ entry, const double* __restrict__ v) {
    const int from = begins[row[group]], to = begins[row[group] + 1];
    double rest = 1.0, total = 0.0;
    bool tied = false;
#pragma unroll 1  // few groups
    for (int k = from; k < to; k++) {
        const int at = entry[member[k]];
        if (at >= 0)
            rest -= v[at];
        else
            tied = true;
    }
    if (!tied) return v[entry[group]];
#pragma unroll 1
    for (int k = from; k < to; k++) {
        const int at = entry[member[k]];
        total += at_least(least, at >= 0 ? v[at] : rest);
    }
    const int at = entry[group];
    return at_least(least, at >= 0 ? v[at] : rest) / at_least(least, total);
}

// Occupancies of the atoms in groups, and of those that ride on them; others keep what they have.
extern "C" __global__ void __launch_bounds__(BLOCK)
    share_out(int n, int size, int own, double least, const int* __restrict__ place, const int* __restrict__ parent,
              const int* __restrict__ row, const int* __restrict__ begins, const int* __restrict__ member,
              const int* __restrict__ entry, const double* __restrict__ multiplicity,
              const double* __restrict__ ratio, const double* __restrict__ x, double* __restrict__ occupancy) {
    const int atom = blockIdx.x * BLOCK + threadIdx.x;
    if (atom >= n) return;
    const int source = parent[atom] < 0 ? atom : parent[atom], group = place[source];
    if (group < 0) return;
    const long long model = (long long)blockIdx.y * n;
    const double share =
        share_of(group, least, row, begins, member, entry, x + (long long)blockIdx.y * size) / multiplicity[source];
    occupancy[model + atom] = source == atom ? share : share * ratio[own * model + atom];
}

// Adjoint of `share_out`, but that a share that was raised to the least one has its slope all the same. A block owns a
// value of the vector, that of group `owner`, and `last` makes up for it (-1 for none). Atoms of group g are
// atom[atoms_of[g]] to atom[atoms_of[g + 1] - 1]; child[first[a]] to child[first[a + 1] - 1] ride on atom a.
extern "C" __global__ void __launch_bounds__(BLOCK)
    pull_shares(int n, int size, int own, const int* __restrict__ owner, const int* __restrict__ last,
                const int* __restrict__ entry, const int* __restrict__ atoms_of, const int* __restrict__ atom,
                const int* __restrict__ first, const int* __restrict__ child,
                const double* __restrict__ multiplicity, const double* __restrict__ ratio,
                const double* __restrict__ d_occupancy, double* __restrict__ gradient) {
    const long long model = (long long)blockIdx.y * n;
    double value = 0.0;
#pragma unroll 1
    for (int side = 0; side < 2; side++) {
        const int group = side == 0 ? owner[blockIdx.x] : last[blockIdx.x];
        if (group < 0) break;  // the same for the whole block
        double sum = 0.0;
        for (int k = atoms_of[group] + threadIdx.x; k < atoms_of[group + 1]; k += BLOCK) {
            const int a = atom[k];
            double by = d_occupancy[model + a];
#pragma unroll 1  // few ride on one atom
            for (int i = first[a]; i < first[a + 1]; i++)
                by += d_occupancy[model + child[i]] * ratio[own * model + child[i]];
            sum += by / multiplicity[a];
        }
        sum = block_sum<BLOCK>(sum);
        value += side == 0 ? sum : -sum;
    }
    if (threadIdx.x == 0) gradient[(long long)blockIdx.y * size + entry[owner[blockIdx.x]]] = value;
}
