// Negative log-likelihood of measured amplitudes; the formulas and their sources are in likelihood.py.
// Float64 throughout; sums are taken in a fixed order.

#include "sums.cuh"

#define BLOCK 256

// ---- modified Bessel functions

// Chebyshev coefficients, computed with 50 digits: of e^-X I0(X) and e^-X I1(X)/X in X/4 - 1 for X <= 8, and of
// sqrt(X) e^-X I0(X) and sqrt(X) e^-X I1(X) in 16/X - 1 beyond.
__constant__ double I0_SMALL[30] = {
    3.38397637204738042e-1, -3.04682672343198399e-1, 1.71620901522208775e-1, -9.49010970480476444e-2,
    4.93052842396707085e-2, -2.37374148058994688e-2, 1.05464603945949983e-2, -4.32430999505057594e-3,
    1.6394756169413358e-3, -5.76375574538582366e-4, 1.88502885095841656e-4, -5.7541950100821037e-5,
    1.64484480707288971e-5, -4.41673835845875056e-6, 1.11738753912010372e-6, -2.67079385394061173e-7,
    6.04699502254191895e-8, -1.30002500998624804e-8, 2.65982372468238665e-9, -5.18979560163526291e-10,
    9.67580903537323691e-11, -1.72682629144155571e-11, 2.95505266312963983e-12, -4.85644678311192946e-13,
    7.67618549860493562e-14, -1.16853328779934517e-14, 1.71539128555513303e-15, -2.43127984654795469e-16,
    3.3307945188222381e-17, -4.41534164647933938e-18,
};
__constant__ double I1_SMALL[28] = {
    1.26293593221816827e-1, -1.76416518357834055e-1, 1.02643658689847095e-1, -5.29459812080949914e-2,
    2.47264490306265168e-2, -1.05640848946261982e-2, 4.15642294431288816e-3, -1.51357245063125315e-3,
    5.12285956168575773e-4, -1.61760815825896746e-4, 4.78156510755005423e-5, -1.32731636560394358e-5,
    3.47025130813767848e-6, -8.56872026469545474e-7, 2.00329475355213526e-7, -4.44505912879632808e-8,
    9.38153738649577178e-9, -1.88724975172282929e-9, 3.62559028155211704e-10, -6.66348972350202774e-11,
    1.17361862988909016e-11, -1.98397439776494372e-12, 3.22379336594557471e-13, -5.04218550472791169e-14,
    7.60068429473540693e-15, -1.10559694773538631e-15, 1.55363195773620047e-16, -2.11142121435816608e-17,
};
__constant__ double I0_LARGE[25] = {
    4.02245205507054416e-1, 3.36911647825569409e-3, 6.88975834691682398e-5, 2.89137052083475648e-6,
    2.04891858946906374e-7, 2.26666899049817806e-8, 3.39623202570838635e-9, 4.94060238822496959e-10,
    1.18891471078464383e-11, -3.14991652796324136e-11, -1.32158118404477131e-11, -1.79417853150680612e-12,
    7.18012445138366623e-13, 3.8527783827421427e-13, 1.54008621752140983e-14, -4.15056934728722209e-14,
    -9.55484669882830765e-15, 3.81168066935262242e-15, 1.77256013305652638e-15, -3.42548561967721913e-16,
    -2.82762398051658348e-16, 3.46122286769746109e-17, 4.46562142029676e-17, -4.83050448594418207e-18,
    -7.23318048787475395e-18,
};
__constant__ double I1_LARGE[25] = {
    3.8928811750914006e-1, -9.76109749136146841e-3, -1.10588938762623716e-4, -3.88256480887769039e-6,
    -2.51223623787020893e-7, -2.63146884688951951e-8, -3.83538038596423702e-9, -5.58974346219658381e-10,
    -1.89749581235054123e-11, 3.25260358301548824e-11, 1.41258074366137813e-11, 2.03562854414708951e-12,
    -7.19855177624590851e-13, -4.08355111109219732e-13, -2.10154184277266431e-14, 4.27244001671195135e-14,
    1.04202769841288028e-14, -3.8144030724370078e-15, -1.88035477551078245e-15, 3.30820231092092828e-16,
    2.96262899764595014e-16, -3.20952592199342396e-17, -4.65030536848935833e-17, 4.41434832307170795e-18,
    7.51729631084210481e-18,
};

template <int N> __device__ double chebyshev(const double (&c)[N], double y) {
    double b0 = 0.0, b1 = 0.0;
#pragma unroll
    for (int k = N - 1; k > 0; k--) {
        const double b2 = b1;
        b1 = b0;
        b0 = 2.0 * y * b1 - b2 + c[k];
    }
    return y * b0 - b1 + c[0];
}

// e^-X I0(X) and e^-X I1(X), X >= 0
__device__ void scaled_bessel_pair(double argument, double* i0, double* i1) {
    if (argument <= 8.0) {
        const double y = 0.25 * argument - 1.0;
        *i0 = chebyshev(I0_SMALL, y);
        *i1 = chebyshev(I1_SMALL, y) * argument;
    } else {
        const double y = 16.0 / argument - 1.0, root = sqrt(argument);
        *i0 = chebyshev(I0_LARGE, y) / root;
        *i1 = chebyshev(I1_LARGE, y) / root;
    }
}

// ---- one reflection

struct Term {
    double value, derivative, curvature, fom;
};

// Derivative of m(X) = I1/I0: 1 - m/X - m^2, by its series where the differences lose digits.
__device__ double bessel_ratio_slope(double argument, double m) {
    if (argument > 300.0) {
        const double t = 1.0 / argument;
        return t * t * (0.5 + t * (0.25 + t * (0.375 + t * (0.78125 + t * 2.03125))));
    }
    if (argument < 1e-4) return 0.5 - 0.1875 * argument * argument;
    return 1.0 - m / argument - m * m;
}

__device__ Term rice(double f_obs, double x, double variance, bool centric) {
    const double product = f_obs * x / variance;
    const double misfit = (f_obs - x) * (f_obs - x) / variance;
    const double by_variance = f_obs / variance;
    Term t;
    if (centric) {
        // e^Y is taken out of cosh Y, Y = F x / variance
        const double decay = exp(-2.0 * product), log_2pi = 1.8378770664093454836;
        t.fom = -expm1(-2.0 * product) / (1.0 + decay);
        t.value = 0.5 * (log_2pi + log(variance) + misfit) - log1p(decay);
        t.derivative = (x - t.fom * f_obs) / variance;
        t.curvature = 1.0 / variance - 4.0 * decay / ((1.0 + decay) * (1.0 + decay)) * by_variance * by_variance;
    } else {
        const double argument = 2.0 * product;
        double i0, i1;
        scaled_bessel_pair(argument, &i0, &i1);
        t.fom = i1 / i0;
        t.value = log(0.5 * variance) - log(f_obs > 0.0 ? f_obs : 1.0) + misfit - log(i0);
        t.derivative = 2.0 * (x - t.fom * f_obs) / variance;
        t.curvature = 2.0 / variance - bessel_ratio_slope(argument, t.fom) * 4.0 * by_variance * by_variance;
    }
    return t;
}

__device__ Term normal(double f_obs, double f_model, double sigma) {
    const double z = (f_model - f_obs) / sigma;
    return {0.5 * z * z + log(sigma), z / sigma, 1.0 / (sigma * sigma), 1.0};
}

// ---- one reflection of which something is known of the phase; the formulas are in phased_likelihood.py

struct Phased {
    double value, re, im;  // and the derivative by the real and the imaginary part of z
};

__device__ double log_cosh(double argument) {
    const double size = fabs(argument), log_2 = 0.6931471805599453094;
    return size + log1p(exp(-2.0 * size)) - log_2;
}

// `known` is A, B, C, D, and the logarithm of the norm of their distribution.
__device__ Phased phased(double f_obs, double re, double im, double variance, bool centric, const double* known) {
    const double x = hypot(re, im), unit_re = x > 0.0 ? re / x : 1.0, unit_im = x > 0.0 ? im / x : 0.0;
    const double misfit = (f_obs - x) * (f_obs - x) / variance, product = f_obs * x / variance;
    if (centric) {
        const double log_2pi = 1.8378770664093454836, log_2 = 0.6931471805599453094;
        const double sure = known[0] * unit_re + known[1] * unit_im, both = product + sure, m = tanh(both);
        const double value = 0.5 * (log_2pi + log(variance) + misfit) - log_2 + product + log_cosh(sure) - log_cosh(both);
        return {value, (re - f_obs * m * unit_re) / variance, (im - f_obs * m * unit_im) / variance};
    }
    const double a = known[0] + 2.0 * product * unit_re, b = known[1] + 2.0 * product * unit_im;
    const double c = known[2], d = known[3], concentration = hypot(a, b) + 4.0 * hypot(c, d);
    int count = 8;
    double step_re = 0.7071067811865475244, step_im = 0.7071067811865475244;  // of the angle between two phases
    while (count < 8.0 + 8.0 * sqrt(concentration)) {
        count *= 2;
        step_re = sqrt(0.5 + 0.5 * step_re);
        step_im /= 2.0 * step_re;
    }
    double largest = a + c, total = 0.0, first_re = 0.0, first_im = 0.0;
    for (int pass = 0; pass < 2; pass++) {
        double cosine = 1.0, sine = 0.0;
        for (int k = 0; k < count; k++) {
            const double exponent = a * cosine + b * sine + c * (cosine * cosine - sine * sine) + d * 2.0 * cosine * sine;
            if (pass == 0) {
                largest = fmax(largest, exponent);
            } else {
                const double weight = exp(exponent - largest);
                total += weight;
                first_re += weight * cosine;
                first_im += weight * sine;
            }
            const double before = cosine;
            cosine = before * step_re - sine * step_im;
            sine = before * step_im + sine * step_re;
        }
    }
    const double log_integral = largest + log(total / count), log_f = log(f_obs > 0.0 ? f_obs : 1.0);
    return {log(0.5 * variance) - log_f + misfit + 2.0 * product - log_integral + known[4],
            2.0 * (re - f_obs * first_re / total) / variance, 2.0 * (im - f_obs * first_im / total) / variance};
}

// ---- kernels

extern "C" __global__ void scaled_bessel(long long n, const double* argument, double* i0, double* i1) {
    const long long r = (long long)blockIdx.x * BLOCK + threadIdx.x;
    if (r < n) scaled_bessel_pair(argument[r], &i0[r], &i1[r]);
}

extern "C" __global__ void rice_ml(long long n, const double* f_obs, const double* x, const double* variance,
                                   const bool* centric, double* value, double* derivative, double* curvature,
                                   double* fom) {
    const long long r = (long long)blockIdx.x * BLOCK + threadIdx.x;
    if (r >= n) return;
    const Term t = rice(f_obs[r], x[r], variance[r], centric[r]);
    value[r] = t.value;
    derivative[r] = t.derivative;
    curvature[r] = t.curvature;
    fom[r] = t.fom;
}

extern "C" __global__ void rice_ml_by_variance(long long n, const double* f_obs, const double* x,
                                               const double* variance, const bool* centric, const double* fom,
                                               double* derivative) {
    const long long r = (long long)blockIdx.x * BLOCK + threadIdx.x;
    if (r >= n) return;
    const double misfit = f_obs[r] - x[r];
    const double spread = misfit * misfit + 2.0 * f_obs[r] * x[r] * (1.0 - fom[r]);
    derivative[r] = (centric[r] ? 0.5 : 1.0) * (1.0 - spread / variance[r]) / variance[r];
}

extern "C" __global__ void gaussian(long long n, const double* f_obs, const double* f_model, const double* sigma,
                                    double* value, double* derivative, double* curvature) {
    const long long r = (long long)blockIdx.x * BLOCK + threadIdx.x;
    if (r >= n) return;
    const Term t = normal(f_obs[r], f_model[r], sigma[r]);
    value[r] = t.value;
    derivative[r] = t.derivative;
    curvature[r] = t.curvature;
}

// Which arrays have one row per model; the others are shared by all models.
enum PerModel { SOLVENT = 1, FACTOR = 2, D = 4, F_OBS = 8, SPREAD = 16, CENTRIC = 32, WORK = 64, KNOWN = 128 };
enum Kind { GAUSSIAN = 0, ML = 1, PHASED = 2 };

// -log p of F_obs given factor |F_calc + solvent|, summed over the block, and its derivative by F_calc.
// Blocks (x) share the reflections of one model (y). `spread` is the variance (ml) or sigma (gaussian);
// `known` has five numbers for each reflection, and is read by the phased likelihood alone.
extern "C" __global__ void __launch_bounds__(BLOCK)
xray_target(int n, int kind, int per_model, const double2* f_calc, const double2* solvent, const double* factor,
            const double* d, const double* f_obs, const double* spread, const bool* centric, const bool* work,
            const double* known, double2* d_f, double* partial) {
    const long long first = (long long)blockIdx.y * n, r = (long long)blockIdx.x * BLOCK + threadIdx.x;
    const auto at = [=](int array) { return per_model & array ? first + r : r; };
    double value = 0.0;
    if (r < n) {
        double2 slope = make_double2(0.0, 0.0);
        if (work[at(WORK)]) {
            const double2 f = f_calc[first + r], s = solvent[at(SOLVENT)];
            const double re = f.x + s.x, im = f.y + s.y, amplitude = hypot(re, im);
            const double scale = factor[at(FACTOR)], chain = kind == GAUSSIAN ? scale : scale * d[at(D)];
            const double observed = f_obs[at(F_OBS)], width = spread[at(SPREAD)];
            if (kind == PHASED) {
                const Phased t = phased(observed, chain * re, chain * im, width, centric[at(CENTRIC)],
                                        known + 5 * at(KNOWN));
                value = t.value;
                slope = make_double2(t.re * chain, t.im * chain);
            } else {
                const Term t = kind == ML ? rice(observed, chain * amplitude, width, centric[at(CENTRIC)])
                                          : normal(observed, chain * amplitude, width);
                value = t.value;
                // an amplitude of zero has no phase to move along
                const double by_part = t.derivative * chain / (amplitude > 0.0 ? amplitude : 1.0);
                slope = make_double2(by_part * re, by_part * im);
            }
        }
        d_f[first + r] = slope;
    }
    const double sum = block_sum<BLOCK>(value);
    if (threadIdx.x == 0) partial[(long long)blockIdx.y * gridDim.x + blockIdx.x] = sum;
}

// Value of each model (x) from the sums of its n blocks.
extern "C" __global__ void __launch_bounds__(BLOCK) sum_blocks(int n, const double* partial, double* value) {
    double v = 0.0;
    for (int k = threadIdx.x; k < n; k += BLOCK) v += partial[(long long)blockIdx.x * n + k];
    v = block_sum<BLOCK>(v);
    if (threadIdx.x == 0) value[blockIdx.x] = v;
}
