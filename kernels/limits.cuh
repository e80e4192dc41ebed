// Whole numbers of cells, and numbers that have a least value.

__device__ __forceinline__ int floor_divide(int a, int b) { return a >= 0 ? a / b : -((b - 1 - a) / b); }

// Not fmax, which would hide a NaN.
__device__ __forceinline__ double at_least(double least, double v) { return v < least ? least : v; }
