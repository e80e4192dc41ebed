// Bricks of the grid, and how far they are from an atom.
//
// Coordinates are those of the frame in which the first axis of the cell is along x and the second in the plane xy, so
// the step between grid points is an upper triangular matrix: cell = {xx, xy, xz, yy, yz, zz, then the grid steps per
// Angstrom across the faces of the cell along the three axes}.

#include "limits.cuh"

typedef unsigned long long Key;  // atom << 30 | cell of the lattice image, 10 bits for each axis

#define BRICK_X 8
#define BRICK_Y 8
#define BRICK_Z 16
#define THREADS 128
#define LOG2E 1.4426950408889634
#define DEEPEST 100.0   // powers of two below which a Gaussian is cut off, whatever its radius
#define MARGIN 1e-5     // relative, for points on the surface of the sphere or of the ellipsoid

struct Step { double xx, xy, xz, yy, yz, zz; };

__device__ __forceinline__ Step read_step(const double* cell) {
  return {cell[0], cell[1], cell[2], cell[3], cell[4], cell[5]};
}

__device__ __forceinline__ double in_cell(double x, int n) { return (x - floor(x)) * (double)n; }

// The radius beyond which a Gaussian of k (powers of two per square Angstrom) counts for nothing; keeps NaN.
__device__ __forceinline__ double cut(double radius, double k) {
  return fmin(radius, sqrt(DEEPEST / k)) + 0.0 * (radius + k);
}

// Squared distance of the origin from the range [low, high] on one axis.
template <class T> __device__ __forceinline__ T gap_squared(T low, T high) {
  const T gap = low > (T)0 ? low : (high < (T)0 ? -high : (T)0);
  return gap * gap;
}

// Squared distance of the origin from a box that encloses `a` x `b` x `c` steps, its first point at (x, y, z).
template <class T>
__device__ __forceinline__ T box_distance(T x, T y, T z, T a, T b, T c, T xx, T xy, T xz, T yy, T yz, T zz) {
  const T zero = (T)0, xb = xy * b, xc = xz * c, yc = yz * c;
  return gap_squared(x + min(xb, zero) + min(xc, zero), x + xx * a + max(xb, zero) + max(xc, zero)) +
         gap_squared(y + min(yc, zero), y + yy * b + max(yc, zero)) + gap_squared(z, z + zz * c);
}
