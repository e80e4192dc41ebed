// Symmetry mates of a few atoms behind the atoms themselves, and what is pulled at them handed back to their sources; the
// NumPy twin is mates.py. Float64 throughout, no two threads write to one place, every sum has one order. Models in y.

#define BLOCK 128

// One thread writes one coordinate of an atom, or of mate g: R x + t of its source.
extern "C" __global__ void __launch_bounds__(BLOCK)
place_mates(int n_atoms, int n_mates, const double* __restrict__ xyz, const int* __restrict__ source,
            const double* __restrict__ rotation, const double* __restrict__ shift, double* __restrict__ extended) {
    const int k = blockIdx.x * BLOCK + threadIdx.x, n = n_atoms + n_mates;
    if (k >= 3 * n) return;
    const long long model = blockIdx.y;
    xyz += 3 * model * n_atoms;
    const int row = k / 3, axis = k % 3, g = row - n_atoms;
    double x;
    if (g < 0) {
        x = xyz[k];
    } else {
        const double *r = rotation + 9ll * g + 3 * axis, *from = xyz + 3ll * source[g];
        x = r[0] * from[0] + r[1] * from[1] + r[2] * from[2] + shift[3ll * g + axis];
    }
    extended[3 * model * n + k] = x;
}

// One thread adds to one component of the gradient by an atom what is pulled at it, and at its mates turned back:
// mates[first[a]:first[a + 1]]. The first thread adds the value.
extern "C" __global__ void __launch_bounds__(BLOCK)
add_from_mates(int n_atoms, int n_mates, const int* __restrict__ first, const int* __restrict__ mates,
               const double* __restrict__ rotation, const double* __restrict__ found_value,
               const double* __restrict__ found, double* __restrict__ value, double* __restrict__ gradient) {
    const int k = blockIdx.x * BLOCK + threadIdx.x;
    if (k >= 3 * n_atoms) return;
    const long long model = blockIdx.y;
    const int atom = k / 3, axis = k % 3;
    found += 3 * model * (n_atoms + n_mates);
    double sum = found[k];
    for (int i = first[atom]; i < first[atom + 1]; i++) {
        const int g = mates[i];
        const double *r = rotation + 9ll * g + axis, *pull = found + 3ll * (n_atoms + g);
        sum += r[0] * pull[0] + r[3] * pull[1] + r[6] * pull[2];
    }
    gradient[3 * model * n_atoms + k] += sum;
    if (k == 0) value[model] += found_value[model];
}
