// Symmetry in reciprocal space, and its adjoint; the equations are in lookup.py.
//
// Both are gathers. `look_up`: F(h) = sum_g phase(g, h) sum_k factor_k(h) P_k(h R_g), a thread for some operators of
// one reflection. `scatter`: one thread owns one stored position; a list made once names the terms that fall there.
// Whether a value enters as its conjugate is in the sign of its number: n for itself, ~n for the conjugate.

#define REFLECTIONS 64  // of a block
#define OPERATORS 4     // threads that share a reflection, at most
#define POSITIONS 256   // of a block

template <class Real, class Complex>
__device__ __forceinline__ void look_up_body(int n, int operators, int channels, int size,
                                             const Complex* __restrict__ transforms, const Real* __restrict__ factor,
                                             const int* __restrict__ index, const Complex* __restrict__ phase,
                                             double2* __restrict__ f) {
    __shared__ double2 part[OPERATORS * REFLECTIONS];
    const long long r = (long long)blockIdx.x * REFLECTIONS + threadIdx.x;
    const Complex* model = transforms + (long long)blockIdx.y * channels * size;
    double2 total = make_double2(0.0, 0.0);
    if (r < n) {
#pragma unroll 2
        for (int g = threadIdx.y; g < operators; g += blockDim.y) {
            const long long at = (long long)g * n + r;
            const int number = index[at];
            const Complex* stored = model + (number < 0 ? ~number : number);
            Real re = 0, im = 0;
#pragma unroll 4
            for (int k = 0; k < channels; k++) {
                const Complex p = stored[(long long)k * size];
                const Real by = factor[(long long)k * n + r];
                re += by * p.x;
                im += by * p.y;
            }
            if (number < 0) im = -im;
            const Complex turn = phase[at];
            total.x += (double)(re * turn.x - im * turn.y);
            total.y += (double)(re * turn.y + im * turn.x);
        }
    }
    part[threadIdx.y * REFLECTIONS + threadIdx.x] = total;
    __syncthreads();
    if (threadIdx.y > 0 || r >= n) return;
    for (int t = 1; t < blockDim.y; t++) {
        total.x += part[t * REFLECTIONS + threadIdx.x].x;
        total.y += part[t * REFLECTIONS + threadIdx.x].y;
    }
    f[(long long)blockIdx.y * n + r] = total;
}

// The terms of position p are source[begin[p]] ... source[begin[p + 1] - 1]; positions without one become zero.
template <class Real, class Complex>
__device__ __forceinline__ void scatter_body(int n, int channels, int size, const double2* __restrict__ gradient,
                                             const Real* __restrict__ factor, const int* __restrict__ begin,
                                             const int* __restrict__ source, const Complex* __restrict__ weight,
                                             Complex* __restrict__ transforms) {
    const long long p = (long long)blockIdx.x * POSITIONS + threadIdx.x;
    if (p >= size) return;
    const double2* y = gradient + (long long)blockIdx.y * n;
    Complex* out = transforms + (long long)blockIdx.y * channels * size + p;
    const int first = begin[p], last = begin[p + 1];
    Complex sum;
    sum.x = sum.y = 0;
    for (int term = first; term < last; term++) {
        const int number = source[term];
        const double2 v = y[number < 0 ? ~number : number];
        const Real re = (Real)v.x, im = (Real)(number < 0 ? -v.y : v.y);
        const Complex w = weight[term];
        sum.x += re * w.x - im * w.y;
        sum.y += re * w.y + im * w.x;
    }
    // The factor depends on |h| only, so any reflection that uses a position gives its value there.
    const int number = first < last ? source[first] : 0;
    const Real* by = factor + (number < 0 ? ~number : number);
    for (int k = 0; k < channels; k++) {
        const Real f = first < last ? by[(long long)k * n] : (Real)0;
        Complex value;
        value.x = f * sum.x;
        value.y = f * sum.y;
        out[(long long)k * size] = value;
    }
}

#define KERNELS(LETTER, Real, Complex)                                                                                \
    extern "C" __global__ void __launch_bounds__(REFLECTIONS* OPERATORS)                                              \
        look_up_##LETTER(int n, int operators, int channels, int size, const Complex* transforms, const Real* factor, \
                         const int* index, const Complex* phase, double2* f) {                                        \
        look_up_body<Real, Complex>(n, operators, channels, size, transforms, factor, index, phase, f);               \
    }                                                                                                                 \
    extern "C" __global__ void __launch_bounds__(POSITIONS)                                                           \
        scatter_##LETTER(int n, int channels, int size, const double2* gradient, const Real* factor,                  \
                         const int* begin, const int* source, const Complex* weight, Complex* transforms) {           \
        scatter_body<Real, Complex>(n, channels, size, gradient, factor, begin, source, weight, transforms);          \
    }
KERNELS(f, float, float2)
KERNELS(d, double, double2)
