// Atoms to grid and back; see density.py for the equations and bricks_cuda.py for the buffers. bricks.cu lists the
// atoms that reach each brick.
//
// Floor for N atoms with P points each (N P = 1.1e7 at 15,000 atoms, 2.3 A), K = 4 channels, grid of 3.3e6 points:
// splat   writes 4 K bytes per grid point, 53 MB: 16 us at 3.3 TB/s; bricks 5x a sphere, 5 N P (3 + K) FMA: 13 us.
// gather  reads 4 K bytes per (atom, point) from the second-level cache, 180 MB: 35 us; N P (6 + K) FMA: 5 us.
// Exponentials: 3 (splat) and 2 (gather) per row of 8 points; along a row e[i+1] = e[i] r[i], r[i+1] = r[i] q.

#include "boxes.cuh"
#include "rows.cuh"
#include "sums.cuh"

#define LN2 0.6931471805599453

// Gaussian at the 8 points of a row; x leads from the atom to the fifth of them, rest is the squared distance of the
// row, k in powers of two.
template <class T> __device__ __forceinline__ void row_of_eight(T k, T x, T rest, T s, T q, T* e) {
  if (k * s * s < (T)STEEPEST) {
    T up = power2(-k * s * (x + x + s)), down = power2(k * s * (x + x - s));
    e[4] = power2(-k * (x * x + rest));
    e[5] = e[4] * up, up *= q;
    e[3] = e[4] * down, down *= q;
    e[6] = e[5] * up, up *= q;
    e[2] = e[3] * down, down *= q;
    e[7] = e[6] * up;
    e[1] = e[2] * down, down *= q;
    e[0] = e[1] * down;
  } else {
#pragma unroll
    for (int i = 0; i < 8; i++) {
      const T at = x + (T)(i - 4) * s;
      e[i] = power2(-k * (at * at + rest));
    }
  }
}

// One block owns one brick: a thread one row along x, K channels in registers; a warp 8 x 4 x 8 points.
template <class T, int K>
__device__ __forceinline__ void splat_body(
    const Key* __restrict__ keys, const int* __restrict__ begin, const int* __restrict__ end,
    const double* __restrict__ position, const T* __restrict__ form, const T* __restrict__ weight,
    const double* __restrict__ cell, int nx, int ny, int nz, int channels, T* __restrict__ out) {
  __shared__ Four<T> place[THREADS];  // from the atom to the first point of the brick, and k
  __shared__ Four<T> limits[THREADS];  // squared radius, least value, ratio of ratios
  __shared__ T factor[THREADS * K];
  const int by = (ny + BRICK_Y - 1) / BRICK_Y, bz = (nz + BRICK_Z - 1) / BRICK_Z, bx = (nx + BRICK_X - 1) / BRICK_X;
  const int brick = blockIdx.x, column = brick / bz, layer = column / by, model = layer / bx;
  const int px = (layer - model * bx) * BRICK_X, py = (column - layer * by) * BRICK_Y,
            pz = (brick - column * bz) * BRICK_Z;
  const int lane = threadIdx.x & 31, warp = threadIdx.x >> 5;
  const int corner_y = (warp >> 1) * 4, corner_z = (warp & 1) * 8;
  const int j = corner_y + (lane >> 3), l = corner_z + (lane & 7);
  const Step s = read_step(cell);
  const T xx = (T)s.xx, xy = (T)s.xy, xz = (T)s.xz, yy = (T)s.yy, yz = (T)s.yz, zz = (T)s.zz;
  const T row_x = xx * (T)4 + xy * (T)j + xz * (T)l, row_y = yy * (T)j + yz * (T)l, row_z = zz * (T)l;
  const T warp_x = xy * (T)corner_y + xz * (T)corner_z, warp_y = yy * (T)corner_y + yz * (T)corner_z,
          warp_z = zz * (T)corner_z;
  T sum[K][8];
#pragma unroll
  for (int k = 0; k < K; k++)
#pragma unroll
    for (int i = 0; i < 8; i++) sum[k][i] = (T)0;

  const int last = end[brick];
  for (int first = begin[brick]; first < last; first += THREADS) {
    const int n = min(THREADS, last - first), mine = threadIdx.x;
    if (mine < n) {
      const Key key = keys[first + mine];
      const int atom = (int)(key >> 30), tx = (int)(key >> 20 & 1023) - 512, ty = (int)(key >> 10 & 1023) - 512,
                tz = (int)(key & 1023) - 512;
      const double ox = (double)tx * nx + px - position[3 * (long long)atom],
                   oy = (double)ty * ny + py - position[3 * (long long)atom + 1],
                   oz = (double)tz * nz + pz - position[3 * (long long)atom + 2];
      const Four<T> f = reinterpret_cast<const Four<T>*>(form)[atom];
      place[mine] = {(T)(s.xx * ox + s.xy * oy + s.xz * oz), (T)(s.yy * oy + s.yz * oz), (T)(s.zz * oz), f.x};
      limits[mine] = {f.y, f.z, f.w, (T)0};
#pragma unroll
      for (int k = 0; k < K; k++) factor[mine * K + k] = weight[(long long)atom * K + k];
    }
    __syncthreads();
    for (int group = 0; group < n; group += 32) {
      bool near = false;
      if (group + lane < n) {
        const Four<T> p = place[group + lane];
        near = box_distance<T>(p.x + warp_x, p.y + warp_y, p.z + warp_z, (T)(BRICK_X - 1), (T)3, (T)7, xx, xy, xz, yy,
                               yz, zz) <= limits[group + lane].x;
      }
      for (unsigned left = __ballot_sync(FULL, near); left; left &= left - 1) {
        const int a = group + __ffs((int)left) - 1;
        const Four<T> p = place[a], f = limits[a];
        const T y = p.y + row_y, z = p.z + row_z, rest = y * y + z * z;
        if (rest > f.x) continue;
        T e[8];
        row_of_eight<T>(p.w, p.x + row_x, rest, xx, f.z, e);
        T w[K];
#pragma unroll
        for (int k = 0; k < K; k++) w[k] = factor[a * K + k];
#pragma unroll
        for (int i = 0; i < 8; i++) {
          const T inside = e[i] >= f.y ? e[i] : (T)0;
#pragma unroll
          for (int k = 0; k < K; k++) sum[k][i] += w[k] * inside;
        }
      }
    }
    __syncthreads();
  }

  if (py + j >= ny || pz + l >= nz) return;
  const long long plane = (long long)ny * nz;
  T* target = out + ((long long)model * channels * nx + px) * plane + (long long)(py + j) * nz + pz + l;
#pragma unroll
  for (int k = 0; k < K; k++)
    if (k < channels)
#pragma unroll
      for (int i = 0; i < 8; i++)
        if (px + i < nx) target[((long long)k * nx + i) * plane] = sum[k][i];
}

#define SPLAT(NAME, T, K, BLOCKS)                                                                                     \
  extern "C" __global__ void __launch_bounds__(THREADS, BLOCKS)                                                       \
      NAME(const Key* __restrict__ keys, const int* __restrict__ begin, const int* __restrict__ end,                  \
           const double* __restrict__ position, const T* __restrict__ form, const T* __restrict__ weight,             \
           const double* __restrict__ cell, int nx, int ny, int nz, int channels, T* __restrict__ out) {              \
    splat_body<T, K>(keys, begin, end, position, form, weight, cell, nx, ny, nz, channels, out);                      \
  }
SPLAT(splat_f1, float, 1, 7)
SPLAT(splat_f2, float, 2, 6)
SPLAT(splat_f4, float, 4, 5)
SPLAT(splat_f6, float, 6, 4)
SPLAT(splat_f8, float, 8, 3)
SPLAT(splat_d1, double, 1, 3)
SPLAT(splat_d2, double, 2, 3)
SPLAT(splat_d4, double, 4, 2)
SPLAT(splat_d6, double, 6, 2)
SPLAT(splat_d8, double, 8, 2)

// One warp owns one atom: a lane takes rows along x, whose neighbours along z are read by its neighbours.
template <class T, int K>
__device__ __forceinline__ void gather_body(
    const T* __restrict__ maps, const double* __restrict__ fractional, const double* __restrict__ amplitude,
    const double* __restrict__ exponent, const double* __restrict__ radius, const T* __restrict__ channel,
    const int* __restrict__ model, int n_atoms, int channels, int n_models, const double* __restrict__ cell,
    const double* __restrict__ frame, int nx, int ny, int nz, double* __restrict__ by_amplitude,
    double* __restrict__ by_xyz, double* __restrict__ by_exponent) {
  const int atom = blockIdx.x * (THREADS / 32) + threadIdx.x / 32, lane = threadIdx.x & 31;
  if (atom >= n_atoms) return;
  const Step s = read_step(cell);
  const double ux = in_cell(fractional[3 * atom], nx), uy = in_cell(fractional[3 * atom + 1], ny),
               uz = in_cell(fractional[3 * atom + 2], nz);
  const double k2 = exponent[atom] * LOG2E, r = cut(radius[atom], k2);
  const int m = model ? model[atom] : 0;
  T zeroth = 0, first_x = 0, first_y = 0, first_z = 0, second = 0;
  if (r * cell[6] < 500.0 * nx && r * cell[7] < 500.0 * ny && r * cell[8] < 500.0 * nz && ux + uy + uz < 4e9 &&
      m >= 0 && m < n_models) {
    const double ax = rint(ux), ay = rint(uy), az = rint(uz), fx = ux - ax, fy = uy - ay, fz = uz - az;
    const T dx = (T)(s.xx * fx + s.xy * fy + s.xz * fz), dy = (T)(s.yy * fy + s.yz * fz), dz = (T)(s.zz * fz);
    const T xx = (T)s.xx, xy = (T)s.xy, xz = (T)s.xz, yy = (T)s.yy, yz = (T)s.yz, zz = (T)s.zz;
    const T k = (T)k2, q = (T)exp2(-2.0 * k2 * s.xx * s.xx), limit = (T)(r * r * (1.0 + MARGIN / 4)), per_x = (T)1 / xx;
    const int low_y = (int)ceil(fy - r * cell[7]), low_z = (int)ceil(fz - r * cell[8]);
    const int wide_y = (int)floor(fy + r * cell[7]) - low_y + 1, wide_z = (int)floor(fz + r * cell[8]) - low_z + 1;
    const int plane = ny * nz, grid = plane * nx;
    const T* map = maps + (long long)m * channels * grid;
    T c[K];
    int skip[K];  // channels that the kernel has beyond those given read the last one, with factor zero
#pragma unroll
    for (int i = 0; i < K; i++) {
      c[i] = i < channels ? channel[(long long)channels * atom + i] : (T)0;
      skip[i] = min(i, channels - 1) * grid;
    }
    const int rows = wide_y * wide_z;
    for (int row = lane; row < rows; row += 32) {
      const int j = low_y + row / wide_z, l = low_z + row % wide_z;
      const T y = yy * (T)j + yz * (T)l - dy, z = zz * (T)l - dz, rest = y * y + z * z;
      if (!(rest <= limit)) continue;
      const T at = xy * (T)j + xz * (T)l - dx, half = root(limit - rest);
      const int low = (int)ceil((-half - at) * per_x), high = (int)floor((half - at) * per_x);
      const int iy = (int)ay + j, iz = (int)az + l;
      const int here = (iy - floor_divide(iy, ny) * ny) * nz + iz - floor_divide(iz, nz) * nz;
      int ix = (int)ax + low;
      ix -= floor_divide(ix, nx) * nx;
      T row_0 = 0, row_1 = 0, row_2 = 0;
      for (int i = low; i <= high; i += 8) {
        T v[8];
        const int start = ix;
#pragma unroll
        for (int t = 0; t < 8; t++) {  // no branches, so that all loads are under way at once
          const int point = here + (i + t <= high ? ix : start) * plane;
          v[t] = (T)0;
#pragma unroll
          for (int n = 0; n < K; n++) v[t] += c[n] * map[point + skip[n]];
          ix = ix + 1 == nx ? 0 : ix + 1;
        }
        T x = at + xx * (T)i, e = power2(-k * (x * x + rest)), ratio = power2(-k * xx * (x + x + xx));
#pragma unroll
        for (int t = 0; t < 8; t++) {
          const T product = i + t <= high ? v[t] * e : (T)0;
          row_0 += product;
          row_1 += product * x;
          row_2 += product * x * x;
          x += xx;
          e *= ratio;
          ratio *= q;
        }
      }
      zeroth += row_0;
      first_x += row_1;
      first_y += row_0 * y;
      first_z += row_0 * z;
      second += row_2 + row_0 * rest;
    }
  } else {
    zeroth = first_x = first_y = first_z = second = (T)__longlong_as_double(0x7ff8000000000000LL);  // not a number
  }
  zeroth = warp_sum(zeroth);
  first_x = warp_sum(first_x);
  first_y = warp_sum(first_y);
  first_z = warp_sum(first_z);
  second = warp_sum(second);
  if (lane < 3) {  // back to the axes of the crystal
    const double* f = frame + 3 * lane;
    by_xyz[3 * atom + lane] = 2.0 * LN2 * amplitude[atom] * k2 *
                              (f[0] * (double)first_x + f[1] * (double)first_y + f[2] * (double)first_z);
  }
  if (lane == 0) {
    by_amplitude[atom] = (double)zeroth;
    by_exponent[atom] = -amplitude[atom] * (double)second;
  }
}

#define GATHER(NAME, T, K, BLOCKS)                                                                                    \
  extern "C" __global__ void __launch_bounds__(THREADS, BLOCKS)                                                       \
      NAME(const T* __restrict__ maps, const double* __restrict__ fractional, const double* __restrict__ amplitude,   \
           const double* __restrict__ exponent, const double* __restrict__ radius, const T* __restrict__ channel,     \
           const int* __restrict__ model, int n_atoms, int channels, int n_models, const double* __restrict__ cell,   \
           const double* __restrict__ frame, int nx, int ny, int nz, double* __restrict__ by_amplitude,               \
           double* __restrict__ by_xyz, double* __restrict__ by_exponent) {                                           \
    gather_body<T, K>(maps, fractional, amplitude, exponent, radius, channel, model, n_atoms, channels, n_models,     \
                      cell, frame, nx, ny, nz, by_amplitude, by_xyz, by_exponent);                                    \
  }
GATHER(gather_f1, float, 1, 6)
GATHER(gather_f2, float, 2, 5)
GATHER(gather_f4, float, 4, 4)
GATHER(gather_f6, float, 6, 3)
GATHER(gather_f8, float, 8, 2)
GATHER(gather_d1, double, 1, 3)
GATHER(gather_d2, double, 2, 3)
GATHER(gather_d4, double, 4, 3)
GATHER(gather_d6, double, 6, 2)
GATHER(gather_d8, double, 8, 2)
