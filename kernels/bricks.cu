// Which atoms reach which brick of the grid, and what the splat wants of every atom; bricks_cuda.py has the buffers.
//
// `count` and `fill` decide alike: this source is compiled without fused multiply-adds, which would let the compiler
// round the same sum differently in two kernels.

#include "boxes.cuh"
#include "sums.cuh"

#define SORTED_IN_SHARED 1024
#define TOO_MANY 1      // bits of the status
#define NOT_FINITE 2
#define NO_SUCH_MODEL 4

// Bricks along one axis that the range u - reach ... u + reach meets. Bricks of successive cells are numbered on.
struct Range { int first, count; };

__device__ __forceinline__ Range brick_range(double u, double reach, int n, int width) {
  const int low = (int)ceil(u - reach), high = (int)floor(u + reach), bricks = (n + width - 1) / width;
  if (low > high) return {0, 0};
  const int cell_low = floor_divide(low, n), cell_high = floor_divide(high, n);
  const int first = cell_low * bricks + (low - cell_low * n) / width;
  const int last = cell_high * bricks + (high - cell_high * n) / width;
  return {first, last - first + 1};
}

// One warp visits the bricks that its atom reaches: it counts them, or writes the atom into their lists.
template <bool WRITE>
__device__ __forceinline__ void visit_bricks(
    int atom, int lane, const double* fractional, double radius, const int* model, int n_models, const double* cell,
    int nx, int ny, int nz, int* count, const int* begin, int capacity, Key* keys, int* status) {
  const Step s = read_step(cell);
  const double ux = in_cell(fractional[3 * atom], nx), uy = in_cell(fractional[3 * atom + 1], ny),
               uz = in_cell(fractional[3 * atom + 2], nz);
  const double rx = radius * cell[6], ry = radius * cell[7], rz = radius * cell[8];
  const int m = model ? model[atom] : 0;
  const bool sane = rx < 500.0 * nx && ry < 500.0 * ny && rz < 500.0 * nz && ux + uy + uz < 4e9;  // false for NaN
  const bool known = m >= 0 && m < n_models;
  if (!sane || !known) {
    if (!WRITE && lane == 0) atomicOr(status, (sane ? 0 : NOT_FINITE) | (known ? 0 : NO_SUCH_MODEL));
    return;
  }
  const int bx = (nx + BRICK_X - 1) / BRICK_X, by = (ny + BRICK_Y - 1) / BRICK_Y, bz = (nz + BRICK_Z - 1) / BRICK_Z;
  const Range x = brick_range(ux, rx, nx, BRICK_X), y = brick_range(uy, ry, ny, BRICK_Y),
              z = brick_range(uz, rz, nz, BRICK_Z);
  const double limit = radius * radius * (1.0 + MARGIN);
  const int total = x.count * y.count * z.count;
  for (int i = lane; i < total; i += 32) {
    const int plane = i / z.count, gz = z.first + i - plane * z.count;
    const int gx = x.first + plane / y.count, gy = y.first + plane % y.count;
    const int tx = floor_divide(gx, bx), ty = floor_divide(gy, by), tz = floor_divide(gz, bz);
    const int px = (gx - tx * bx) * BRICK_X, py = (gy - ty * by) * BRICK_Y, pz = (gz - tz * bz) * BRICK_Z;
    const double ox = (double)tx * nx + px - ux, oy = (double)ty * ny + py - uy, oz = (double)tz * nz + pz - uz;
    const double apart = box_distance<double>(
        s.xx * ox + s.xy * oy + s.xz * oz, s.yy * oy + s.yz * oz, s.zz * oz, min(BRICK_X, nx - px) - 1,
        min(BRICK_Y, ny - py) - 1, min(BRICK_Z, nz - pz) - 1, s.xx, s.xy, s.xz, s.yy, s.yz, s.zz);
    if (!(apart <= limit)) continue;
    const int brick = ((m * bx + gx - tx * bx) * by + gy - ty * by) * bz + gz - tz * bz;
    if (WRITE) {
      const int place = begin[brick] + atomicSub(&count[brick], 1) - 1;
      if (place < capacity)
        keys[place] = (Key)atom << 30 | (Key)(tx + 512) << 20 | (Key)(ty + 512) << 10 | (Key)(tz + 512);
    } else {
      atomicAdd(&count[brick], 1);
    }
  }
}

// What the splat wants of every atom, and the number of atoms that reach each brick.
template <class T>
__device__ __forceinline__ void count_body(
    const double* fractional, const double* amplitude, const double* exponent, const double* radius, const T* channel,
    const int* model, int n_atoms, int channels, int padded, int n_models, const double* cell, int nx, int ny, int nz,
    double* position, T* form, T* weight, int* count, int* status) {
  const int atom = blockIdx.x * (THREADS / 32) + threadIdx.x / 32, lane = threadIdx.x & 31;
  if (atom >= n_atoms) return;
  const double k = exponent[atom] * LOG2E, r = cut(radius[atom], k);
  if (lane < 3) position[3 * atom + lane] = in_cell(fractional[3 * atom + lane], lane == 0 ? nx : lane == 1 ? ny : nz);
  if (lane == 0) {
    form[4 * atom] = (T)k;
    form[4 * atom + 1] = (T)(r * r * (1.0 + MARGIN));
    form[4 * atom + 2] = (T)(exp2(-k * r * r) * (1.0 - MARGIN));
    form[4 * atom + 3] = (T)exp2(-2.0 * k * cell[0] * cell[0]);
  }
  if (lane < padded)
    weight[padded * atom + lane] =
        lane < channels ? (T)(amplitude[atom] * (double)channel[channels * atom + lane]) : (T)0;
  visit_bricks<false>(atom, lane, fractional, r, model, n_models, cell, nx, ny, nz, count, nullptr, 0, nullptr, status);
}

#define COUNT(NAME, T)                                                                                                \
  extern "C" __global__ void __launch_bounds__(THREADS)                                                               \
      NAME(const double* __restrict__ fractional, const double* __restrict__ amplitude,                               \
           const double* __restrict__ exponent, const double* __restrict__ radius, const T* __restrict__ channel,     \
           const int* __restrict__ model, int n_atoms, int channels, int padded, int n_models,                        \
           const double* __restrict__ cell, int nx, int ny, int nz, double* __restrict__ position,                    \
           T* __restrict__ form, T* __restrict__ weight, int* __restrict__ count, int* __restrict__ status) {         \
    count_body<T>(fractional, amplitude, exponent, radius, channel, model, n_atoms, channels, padded, n_models, cell, \
                  nx, ny, nz, position, form, weight, count, status);                                                 \
  }
COUNT(count_f, float)
COUNT(count_d, double)

// A stretch of the list for every brick. The stretches lie in any order; what is in them does not depend on it.
extern "C" __global__ void __launch_bounds__(THREADS)
    allocate(const int* __restrict__ count, int n_bricks, int capacity, int* __restrict__ cursor,
             int* __restrict__ begin, int* __restrict__ end, int* __restrict__ status) {
  const int brick = blockIdx.x * THREADS + threadIdx.x, lane = threadIdx.x & 31;
  const int mine = brick < n_bricks ? count[brick] : 0;
  int sum = mine;
  for (int d = 1; d < 32; d *= 2) {
    const int before = __shfl_up_sync(FULL, sum, d);
    if (lane >= d) sum += before;
  }
  int first = 0;
  if (lane == 31 && sum) first = atomicAdd(cursor, sum);
  first = __shfl_sync(FULL, first, 31) + sum - mine;
  if (brick >= n_bricks) return;
  if (mine > capacity - first) atomicOr(status, TOO_MANY);
  begin[brick] = min(first, capacity);
  end[brick] = mine > capacity - first ? capacity : first + mine;
}

extern "C" __global__ void __launch_bounds__(THREADS, 6)
    fill(const double* __restrict__ fractional, const double* __restrict__ exponent, const double* __restrict__ radius,
         const int* __restrict__ model, int n_atoms, int n_models, const double* __restrict__ cell, int nx, int ny,
         int nz, int* __restrict__ count, const int* __restrict__ begin, int capacity, Key* __restrict__ keys,
         int* __restrict__ status) {
  const int atom = blockIdx.x * (THREADS / 32) + threadIdx.x / 32, lane = threadIdx.x & 31;
  if (atom >= n_atoms) return;
  const double r = cut(radius[atom], exponent[atom] * LOG2E);
  visit_bricks<true>(atom, lane, fractional, r, model, n_models, cell, nx, ny, nz, count, begin, capacity, keys,
                     status);
}

__device__ __forceinline__ void put_in_order(Key* key, int low, int high, int n) {
  if (high >= n) return;
  const Key a = key[low], b = key[high];
  if (a > b) key[low] = b, key[high] = a;
}

// Bitonic, every comparison upwards: places from n on behave as if they held infinity.
__device__ void sort_keys(Key* key, int n) {
  for (int k = 2; k / 2 < n; k *= 2) {
    const int half = k / 2, pairs = (n + k - 1) / k * half;
    __syncthreads();
    for (int t = threadIdx.x; t < pairs; t += THREADS) {
      const int start = t / half * k, i = t % half;
      put_in_order(key, start + i, start + k - 1 - i, n);
    }
    for (int j = half / 2; j > 0; j /= 2) {
      __syncthreads();
      for (int t = threadIdx.x; t < pairs; t += THREADS) {
        const int low = t / j * 2 * j + t % j;
        put_in_order(key, low, low + j, n);
      }
    }
  }
  __syncthreads();
}

// Sorts the list of every brick by atom and image, so that its sums are taken in one order.
extern "C" __global__ void __launch_bounds__(THREADS)
    order(const int* __restrict__ begin, const int* __restrict__ end, Key* keys) {
  __shared__ Key near[SORTED_IN_SHARED];
  Key* mine = keys + begin[blockIdx.x];
  const int n = end[blockIdx.x] - begin[blockIdx.x];
  if (n < 2) return;
  if (n > SORTED_IN_SHARED) {
    sort_keys(mine, n);
    return;
  }
  for (int i = threadIdx.x; i < n; i += THREADS) near[i] = mine[i];
  sort_keys(near, n);
  for (int i = threadIdx.x; i < n; i += THREADS) mine[i] = near[i];
}

