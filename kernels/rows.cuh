// What rows of a Gaussian along x are made with, in either precision.

#define STEEPEST 1.9    // k s^2 (powers of two) above which the middle of a row may underflow where its ends count

__device__ __forceinline__ float power2(float x) { return exp2f(x); }
__device__ __forceinline__ double power2(double x) { return exp2(x); }
__device__ __forceinline__ float root(float x) { return sqrtf(x); }
__device__ __forceinline__ double root(double x) { return sqrt(x); }

template <class T> struct alignas(16) Four { T x, y, z, w; };
