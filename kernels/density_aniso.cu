// Anisotropic atoms to grid and back; see density_aniso.py for the equations and density_aniso_cuda.py for the buffers.
// The lists of atoms by brick are made by the kernels of bricks.cu.
//
// A row of the grid runs along x. With K in the frame of density.cu, in powers of two, and K11 taken out as a square,
// r^T K r = K11 (x + p)^2 + S(y, z), p = (K12 y + K13 z) / K11, and S the quadratic form that remains: never negative,
// so nothing cancels, and a row is made as that of an isotropic atom at x + p. A Gaussian ends where it falls below its
// value at the caller's radius along its longest axis: an ellipsoid, so that flat atoms cost few points.
//
// Floor, per atom and point: splat 4 + K FMA, gather 8 + K FMA and 4 K bytes from the second-level cache, as for
// isotropic atoms, and exponentials 3 and 2 per row of 8 points; the moments of a row cost ten more per row.

#include "boxes.cuh"
#include "rows.cuh"
#include "six.cuh"
#include "sums.cuh"

#define FORM 12         // values per atom

// What row sums want of an atom, in double: K11, p by y and z, the level at which it ends, S by y^2, yz and z^2.
struct Shape { double k, py, pz, level, yy, yz, zz, radius; };

__device__ __forceinline__ Shape read_shape(const double* precision, const double* frame, double exponent,
                                            double radius) {
  double m[3][3];  // K in the frame of the kernels
  const double k[3][3] = {{precision[0], precision[3], precision[4]},
                          {precision[3], precision[1], precision[5]},
                          {precision[4], precision[5], precision[2]}};
#pragma unroll
  for (int a = 0; a < 3; a++)
#pragma unroll
    for (int b = a; b < 3; b++) {
      double sum = 0.0;
#pragma unroll
      for (int i = 0; i < 3; i++)
#pragma unroll
        for (int j = 0; j < 3; j++) sum += frame[3 * i + a] * k[i][j] * frame[3 * j + b];
      m[a][b] = sum * LOG2E;
    }
  const double low = exponent * LOG2E, r = fmin(radius, sqrt(DEEPEST / low)) + 0.0 * (radius + low);
  return {m[0][0], m[0][1] / m[0][0], m[0][2] / m[0][0], low * r * r,
          m[1][1] - m[0][1] * m[0][1] / m[0][0], 2.0 * (m[1][2] - m[0][1] * m[0][2] / m[0][0]),
          m[2][2] - m[0][2] * m[0][2] / m[0][0], r};
}

// The exponent of the sphere around each atom, which is that along its longest axis, and the values of its rows.
// K that is not positive definite has no such exponent; the lists then report it.
template <class T>
__device__ __forceinline__ void shape_body(const double* precision, const double* radius, int n_atoms,
                                           const double* cell, const double* frame, double* exponent, T* form) {
  const int atom = blockIdx.x * THREADS + threadIdx.x;
  if (atom >= n_atoms) return;
  const double* k = precision + 6ll * atom;
  const double low = eigenvalues(read_six(k)).low;
  exponent[atom] = low > 0.0 ? low : __longlong_as_double(0x7ff8000000000000LL);
  const Shape s = read_shape(k, frame, exponent[atom], radius[atom]);
  T* f = form + (long long)FORM * atom;
  f[0] = (T)s.k, f[1] = (T)s.py, f[2] = (T)s.pz, f[3] = (T)(s.level * (1.0 + MARGIN));
  f[4] = (T)s.yy, f[5] = (T)s.yz, f[6] = (T)s.zz, f[7] = (T)(exp2(-s.level) * (1.0 - MARGIN));
  f[8] = (T)exp2(-2.0 * s.k * cell[0] * cell[0]), f[9] = (T)(s.radius * s.radius * (1.0 + MARGIN));
  f[10] = f[11] = (T)0;
}

#define SHAPES(NAME, T)                                                                                         \
  extern "C" __global__ void __launch_bounds__(THREADS)                                                         \
      NAME(const double* __restrict__ precision, const double* __restrict__ radius, int n_atoms,                \
           const double* __restrict__ cell, const double* __restrict__ frame, double* exponent,                 \
           T* __restrict__ form) {                                                                              \
    shape_body<T>(precision, radius, n_atoms, cell, frame, exponent, form);                                     \
  }
SHAPES(shapes_f, float)
SHAPES(shapes_d, double)

// Gaussian at the 8 points of a row; x leads from the middle of the row's Gaussian to the fifth of them, rest is what
// all of them have in common (powers of two).
template <class T> __device__ __forceinline__ void row_of_eight(T k, T x, T rest, T s, T q, T* e) {
  if (k * s * s < (T)STEEPEST) {
    T up = power2(-k * s * (x + x + s)), down = power2(k * s * (x + x - s));
    e[4] = power2(-k * x * x - rest);
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
      e[i] = power2(-k * at * at - rest);
    }
  }
}

// One block owns one brick and adds to it: a thread one row along x, K channels in registers; a warp 8 x 4 x 8 points.
template <class T, int K>
__device__ __forceinline__ void splat_body(
    const Key* __restrict__ keys, const int* __restrict__ begin, const int* __restrict__ end,
    const double* __restrict__ position, const T* __restrict__ form, const T* __restrict__ weight,
    const double* __restrict__ cell, int nx, int ny, int nz, int channels, T* __restrict__ out) {
  __shared__ Four<T> place[THREADS];  // from the atom to the first point of the brick, and squared radius
  __shared__ Four<T> row[THREADS];    // K11, p by y and z, level
  __shared__ Four<T> rests[THREADS];  // S by y^2, yz and z^2, least value
  __shared__ T ratio[THREADS];
  __shared__ T step[6];  // read where it is wanted: registers are short with eight channels in double
  __shared__ T factor[THREADS * K];
  const int by = (ny + BRICK_Y - 1) / BRICK_Y, bz = (nz + BRICK_Z - 1) / BRICK_Z, bx = (nx + BRICK_X - 1) / BRICK_X;
  const int brick = blockIdx.x, column = brick / bz, layer = column / by, model = layer / bx;
  const int px = (layer - model * bx) * BRICK_X, py = (column - layer * by) * BRICK_Y,
            pz = (brick - column * bz) * BRICK_Z;
  const int last = end[brick];
  if (begin[brick] >= last) return;
  const int lane = threadIdx.x & 31, warp = threadIdx.x >> 5;
  const int corner_y = (warp >> 1) * 4, corner_z = (warp & 1) * 8;
  const int j = corner_y + (lane >> 3), l = corner_z + (lane & 7);
  const Step s = read_step(cell);
  if (threadIdx.x < 6) step[threadIdx.x] = (T)cell[threadIdx.x];
  const T xx = (T)s.xx;
  const T row_x = xx * (T)4 + (T)s.xy * (T)j + (T)s.xz * (T)l, row_y = (T)s.yy * (T)j + (T)s.yz * (T)l,
          row_z = (T)s.zz * (T)l;
  T sum[K][8];
#pragma unroll
  for (int k = 0; k < K; k++)
#pragma unroll
    for (int i = 0; i < 8; i++) sum[k][i] = (T)0;

  for (int first = begin[brick]; first < last; first += THREADS) {
    const int n = min(THREADS, last - first), mine = threadIdx.x;
    if (mine < n) {
      const Key key = keys[first + mine];
      const int atom = (int)(key >> 30), tx = (int)(key >> 20 & 1023) - 512, ty = (int)(key >> 10 & 1023) - 512,
                tz = (int)(key & 1023) - 512;
      const double ox = (double)tx * nx + px - position[3 * (long long)atom],
                   oy = (double)ty * ny + py - position[3 * (long long)atom + 1],
                   oz = (double)tz * nz + pz - position[3 * (long long)atom + 2];
      const Four<T>* f = reinterpret_cast<const Four<T>*>(form + (long long)FORM * atom);
      const Four<T> more = f[2];
      place[mine] = {(T)(s.xx * ox + s.xy * oy + s.xz * oz), (T)(s.yy * oy + s.yz * oz), (T)(s.zz * oz), more.y};
      row[mine] = f[0];
      rests[mine] = f[1];
      ratio[mine] = more.x;
#pragma unroll
      for (int k = 0; k < K; k++) factor[mine * K + k] = weight[(long long)atom * K + k];
    }
    __syncthreads();
    for (int group = 0; group < n; group += 32) {
      bool near = false;
      if (group + lane < n) {
        const Four<T> p = place[group + lane];
        const T cy = (T)corner_y, cz = (T)corner_z;
        near = box_distance<T>(p.x + step[1] * cy + step[2] * cz, p.y + step[3] * cy + step[4] * cz,
                               p.z + step[5] * cz, (T)(BRICK_X - 1), (T)3, (T)7, step[0], step[1], step[2], step[3],
                               step[4], step[5]) <= p.w;
      }
      for (unsigned left = __ballot_sync(FULL, near); left; left &= left - 1) {
        const int a = group + __ffs((int)left) - 1;
        const Four<T> p = place[a], f = row[a], r = rests[a];
        const T y = p.y + row_y, z = p.z + row_z, rest = r.x * y * y + r.y * y * z + r.z * z * z;
        if (rest > f.w) continue;
        T e[8];
        row_of_eight<T>(f.x, p.x + row_x + (f.y * y + f.z * z), rest, xx, ratio[a], e);
#pragma unroll
        for (int i = 0; i < 8; i++) e[i] = e[i] >= r.w ? e[i] : (T)0;
#pragma unroll
        for (int k = 0; k < K; k++) {
          const T w = factor[a * K + k];
#pragma unroll
          for (int i = 0; i < 8; i++) sum[k][i] += w * e[i];
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
        if (px + i < nx) target[((long long)k * nx + i) * plane] += sum[k][i];
}

#define SPLAT(NAME, T, K, BLOCKS)                                                                                     \
  extern "C" __global__ void __launch_bounds__(THREADS, BLOCKS)                                                       \
      NAME(const Key* __restrict__ keys, const int* __restrict__ begin, const int* __restrict__ end,                  \
           const double* __restrict__ position, const T* __restrict__ form, const T* __restrict__ weight,             \
           const double* __restrict__ cell, int nx, int ny, int nz, int channels, T* __restrict__ out) {              \
    splat_body<T, K>(keys, begin, end, position, form, weight, cell, nx, ny, nz, channels, out);                      \
  }
SPLAT(splat_f1, float, 1, 6)
SPLAT(splat_f2, float, 2, 5)
SPLAT(splat_f4, float, 4, 4)
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
    const double* __restrict__ precision, const double* __restrict__ radius, const T* __restrict__ channel,
    const int* __restrict__ model, int n_atoms, int channels, int n_models, const double* __restrict__ cell,
    const double* __restrict__ frame, int nx, int ny, int nz, double* __restrict__ by_amplitude,
    double* __restrict__ by_xyz, double* __restrict__ by_precision) {
  const int atom = blockIdx.x * (THREADS / 32) + threadIdx.x / 32, lane = threadIdx.x & 31;
  if (atom >= n_atoms) return;
  const Step s = read_step(cell);
  const double ux = in_cell(fractional[3 * atom], nx), uy = in_cell(fractional[3 * atom + 1], ny),
               uz = in_cell(fractional[3 * atom + 2], nz);
  const double* own = precision + 6ll * atom;
  const double low_k = eigenvalues(read_six(own)).low;
  const Shape shape = read_shape(own, frame, low_k, radius[atom]);
  const double r = shape.radius;
  const int m = model ? model[atom] : 0;
  T m0 = 0, mx = 0, my = 0, mz = 0, mxx = 0, myy = 0, mzz = 0, mxy = 0, mxz = 0, myz = 0;
  if (low_k > 0.0 && r * cell[6] < 500.0 * nx && r * cell[7] < 500.0 * ny && r * cell[8] < 500.0 * nz &&
      ux + uy + uz < 4e9 && m >= 0 && m < n_models) {
    const double ax = rint(ux), ay = rint(uy), az = rint(uz), fx = ux - ax, fy = uy - ay, fz = uz - az;
    const T dx = (T)(s.xx * fx + s.xy * fy + s.xz * fz), dy = (T)(s.yy * fy + s.yz * fz), dz = (T)(s.zz * fz);
    const T xx = (T)s.xx, xy = (T)s.xy, xz = (T)s.xz, yy = (T)s.yy, yz = (T)s.yz, zz = (T)s.zz;
    const T k = (T)shape.k, q = (T)exp2(-2.0 * shape.k * s.xx * s.xx), per_x = (T)1 / xx, per_k = (T)(1.0 / shape.k),
            level = (T)(shape.level * (1.0 + MARGIN / 4)), p_y = (T)shape.py, p_z = (T)shape.pz, s_yy = (T)shape.yy,
            s_yz = (T)shape.yz, s_zz = (T)shape.zz;
    const bool steep = k * xx * xx >= (T)STEEPEST;
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
      const T y = yy * (T)j + yz * (T)l - dy, z = zz * (T)l - dz, rest = s_yy * y * y + s_yz * y * z + s_zz * z * z;
      if (!(rest <= level)) continue;
      const T at = xy * (T)j + xz * (T)l - dx, middle = at + (p_y * y + p_z * z), half = root((level - rest) * per_k);
      const int low = (int)ceil((-half - middle) * per_x), high = (int)floor((half - middle) * per_x);
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
        T x = at + xx * (T)i, u = middle + xx * (T)i, e = power2(-k * u * u - rest),
          ratio = power2(-k * xx * (u + u + xx));
#pragma unroll
        for (int t = 0; t < 8; t++) {
          const T product = i + t <= high ? v[t] * e : (T)0;
          row_0 += product;
          row_1 += product * x;
          row_2 += product * x * x;
          x += xx;
          u += xx;
          e = steep ? power2(-k * u * u - rest) : e * ratio;
          ratio *= q;
        }
      }
      m0 += row_0;
      mx += row_1;
      my += row_0 * y;
      mz += row_0 * z;
      mxx += row_2;
      myy += row_0 * y * y;
      mzz += row_0 * z * z;
      mxy += row_1 * y;
      mxz += row_1 * z;
      myz += row_0 * y * z;
    }
  } else {
    m0 = mx = my = mz = mxx = myy = mzz = mxy = mxz = myz = (T)__longlong_as_double(0x7ff8000000000000LL);
  }
  m0 = warp_sum(m0);
  const double first[3] = {(double)warp_sum(mx), (double)warp_sum(my), (double)warp_sum(mz)};
  mxx = warp_sum(mxx), myy = warp_sum(myy), mzz = warp_sum(mzz);
  mxy = warp_sum(mxy), mxz = warp_sum(mxz), myz = warp_sum(myz);
  if (lane >= 6) return;  // back to the axes of the crystal
  const int a = lane < 3 ? lane : lane < 5 ? 0 : 1, b = lane < 3 ? lane : lane == 3 ? 1 : 2;
  const double *f = frame + 3 * a, *g = frame + 3 * b;
  const double second = f[0] * (g[0] * (double)mxx + g[1] * (double)mxy + g[2] * (double)mxz) +
                        f[1] * (g[0] * (double)mxy + g[1] * (double)myy + g[2] * (double)myz) +
                        f[2] * (g[0] * (double)mxz + g[1] * (double)myz + g[2] * (double)mzz);
  by_precision[6ll * atom + lane] = (lane < 3 ? -1.0 : -2.0) * amplitude[atom] * second;
  if (lane == 0) by_amplitude[atom] = (double)m0;
  if (lane >= 3) return;
  const double k0 = lane == 0 ? own[0] : own[2 + lane], k1 = lane == 0 ? own[3] : lane == 1 ? own[1] : own[5],
               k2 = lane == 2 ? own[2] : own[4 + lane];
  double sum = 0.0;
#pragma unroll
  for (int i = 0; i < 3; i++) sum += (k0 * frame[i] + k1 * frame[3 + i] + k2 * frame[6 + i]) * first[i];
  by_xyz[3ll * atom + lane] = 2.0 * amplitude[atom] * sum;
}

#define GATHER(NAME, T, K, BLOCKS)                                                                                    \
  extern "C" __global__ void __launch_bounds__(THREADS, BLOCKS)                                                       \
      NAME(const T* __restrict__ maps, const double* __restrict__ fractional, const double* __restrict__ amplitude,   \
           const double* __restrict__ precision, const double* __restrict__ radius, const T* __restrict__ channel,    \
           const int* __restrict__ model, int n_atoms, int channels, int n_models, const double* __restrict__ cell,   \
           const double* __restrict__ frame, int nx, int ny, int nz, double* __restrict__ by_amplitude,               \
           double* __restrict__ by_xyz, double* __restrict__ by_precision) {                                          \
    gather_body<T, K>(maps, fractional, amplitude, precision, radius, channel, model, n_atoms, channels, n_models,    \
                      cell, frame, nx, ny, nz, by_amplitude, by_xyz, by_precision);                                   \
  }
GATHER(gather_f1, float, 1, 5)
GATHER(gather_f2, float, 2, 4)
GATHER(gather_f4, float, 4, 3)
GATHER(gather_f6, float, 6, 2)
GATHER(gather_f8, float, 8, 2)
GATHER(gather_d1, double, 1, 2)
GATHER(gather_d2, double, 2, 2)
GATHER(gather_d4, double, 4, 2)
GATHER(gather_d6, double, 6, 2)
GATHER(gather_d8, double, 8, 2)
