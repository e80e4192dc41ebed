// Runs CUDA kernels on the host: the threads of a block are fibres, blocks follow one another.
// Only what NVRTC has built in is offered, and no floating-point atomics.
#pragma once
#include <limits.h>
#include <math.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#if !defined(__x86_64__)
#include <ucontext.h>
#endif
#include <string>
#include <type_traits>
#include <utility>
#include <vector>

// NVRTC defines none of these.
#undef M_PI
#undef M_PI_2
#undef M_PI_4
#undef M_SQRT2
#undef M_LN2
#undef M_E
#undef NAN
#undef INFINITY
#undef HUGE_VAL
#undef INT_MAX
#undef UINT_MAX
#undef LLONG_MAX

#define __CUDA_ARCH__ 900
#define __CUDACC_RTC__
#define __global__
#define __device__
#define __host__
#define __constant__ static
#define __forceinline__ inline __attribute__((always_inline))
#define __noinline__ __attribute__((noinline))
#define __align__(n) __attribute__((aligned(n)))
#define __launch_bounds__(...)
#define __grid_constant__
#ifdef EMULATED_PLAIN_SHARED
#define __shared__ static
#else
#define __shared__ static __attribute__((section("emushared")))
#endif

typedef unsigned int uint;

#define EMULATED_VECTOR(T, name)                                                                         \
  struct name##1 { T x; };                                                                               \
  struct alignas(2 * sizeof(T)) name##2 { T x, y; };                                                     \
  struct name##3 { T x, y, z; };                                                                         \
  struct alignas(4 * sizeof(T) < 16 ? 4 * sizeof(T) : 16) name##4 { T x, y, z, w; };                     \
  static inline name##1 make_##name##1(T x) { return {x}; }                                              \
  static inline name##2 make_##name##2(T x, T y) { return {x, y}; }                                      \
  static inline name##3 make_##name##3(T x, T y, T z) { return {x, y, z}; }                              \
  static inline name##4 make_##name##4(T x, T y, T z, T w) { return {x, y, z, w}; }
EMULATED_VECTOR(float, float)
EMULATED_VECTOR(double, double)
EMULATED_VECTOR(int, int)
EMULATED_VECTOR(unsigned, uint)
EMULATED_VECTOR(long long, longlong)
EMULATED_VECTOR(unsigned long long, ulonglong)
EMULATED_VECTOR(short, short)
EMULATED_VECTOR(unsigned short, ushort)
EMULATED_VECTOR(signed char, char)
EMULATED_VECTOR(unsigned char, uchar)
struct dim3 {
  unsigned x, y, z;
  dim3(unsigned x_ = 1, unsigned y_ = 1, unsigned z_ = 1) : x(x_), y(y_), z(z_) {}
};

static uint3 threadIdx, blockIdx;
static dim3 blockDim, gridDim;
static const int warpSize = 32;

// Bounds of the section that holds the static __shared__ variables of the module.
extern "C" char __start_emushared[] __attribute__((weak, visibility("hidden")));
extern "C" char __stop_emushared[] __attribute__((weak, visibility("hidden")));

namespace emulated {

enum Kind { SYNC_WARP, SHUFFLE, BALLOT, MATCH_ANY, ADD_U, MIN_U, MAX_U, MIN_S, MAX_S, AND_U, OR_U, XOR_U, SYNC_BLOCK };
enum State : char { NEW, READY, AT_WARP, AT_BLOCK, DONE };
struct Request { int kind; unsigned mask; int source; unsigned long long value; };
struct Thread {
  State state;
  uint3 place;
  char* stack;
  void* context;
  Request request;
  unsigned long long result;
};

static const size_t STACK = 128 * 1024;
static const size_t SHARED_LIMIT = 256 * 1024;
static const size_t GUARD = 256;
alignas(128) static char dynamic_buffer[SHARED_LIMIT + GUARD];
static inline void* dynamic_shared() { return dynamic_buffer; }

static std::vector<Thread> threads;
static std::vector<char*> free_stacks;
static Thread* current = nullptr;
static void (*invoke)(void**) = nullptr;
static void** arguments = nullptr;
static std::string message;

#if defined(__x86_64__)
// Goes on where `load` was left, until something goes on from here. It is a jump, inline: returns would be predicted to
// where the fibre before came from.
static inline __attribute__((always_inline)) void emulated_switch(void** save, void* load) {
  asm volatile(
      "leaq -128(%%rsp), %%rsp\n\t"  // what a function keeps below its stack
      "pushq %%rbp\n\t"
      "leaq 1f(%%rip), %%rax\n\t"
      "pushq %%rax\n\t"
      "movq %%rsp, (%0)\n\t"
      "movq %1, %%rsp\n\t"
      "popq %%rax\n\t"
      "jmpq *%%rax\n"
      "1:\n\t"
      "popq %%rbp\n\t"
      "leaq 128(%%rsp), %%rsp\n\t"
      : "+D"(save), "+S"(load)
      :
      : "rax", "rbx", "rcx", "rdx", "r8", "r9", "r10", "r11", "r12", "r13", "r14", "r15", "memory", "cc", "xmm0",
        "xmm1", "xmm2", "xmm3", "xmm4", "xmm5", "xmm6", "xmm7", "xmm8", "xmm9", "xmm10", "xmm11", "xmm12", "xmm13",
        "xmm14", "xmm15");
}
static void* scheduler_context;
static inline void to_scheduler() { emulated_switch(&current->context, scheduler_context); }
static inline void to_thread() { emulated_switch(&scheduler_context, current->context); }
static void body();
static inline void prepare() {
  // Tops that are a power of two apart would all fall into the same few sets of the caches.
  size_t top = ((size_t)current->stack + STACK - 64 - (size_t)current->stack / STACK % 32 * 1088) & ~(size_t)15;
  void** p = (void**)top;
  *p = (void*)body;  // which is popped, so that the stack is 8 off a multiple of 16, as at any entry
  current->context = p;
}
#else
static ucontext_t scheduler_context;
static std::vector<ucontext_t> contexts;
static void body();
static inline void to_scheduler() { swapcontext((ucontext_t*)current->context, &scheduler_context); }
static inline void to_thread() { swapcontext(&scheduler_context, (ucontext_t*)current->context); }
static inline void prepare() {
  if (contexts.size() < 1024) contexts.resize(1024);
  ucontext_t* c = &contexts[(size_t)(current - threads.data())];
  getcontext(c);
  c->uc_stack.ss_sp = current->stack;
  c->uc_stack.ss_size = STACK;
  c->uc_link = nullptr;
  makecontext(c, body, 0);
  current->context = c;
}
#endif

static void body() {
  invoke(arguments);
  current->state = DONE;
  to_scheduler();
  __builtin_trap();
}

static inline __attribute__((always_inline)) unsigned long long wait(State state, Request request) {
  Thread* self = current;
  self->request = request;
  self->state = state;
  to_scheduler();
  return self->result;
}

static inline int lane_of(size_t thread) { return (int)(thread & 31); }

static bool complain(const char* text) {
  char where[200];
  snprintf(where, sizeof where, " (block %u %u %u)", blockIdx.x, blockIdx.y, blockIdx.z);
  message = std::string(text) + where;
  return false;
}

static void resume(size_t t) {
  current = &threads[t];
  if (current->state == NEW) {
    if (free_stacks.empty()) {
      void* p = mmap(nullptr, STACK, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
      free_stacks.push_back((char*)p);
    }
    current->stack = free_stacks.back();
    free_stacks.pop_back();
    prepare();
  }
  current->state = READY;
  threadIdx = current->place;
  to_thread();
  if (current->state == DONE) free_stacks.push_back(current->stack);
}

static unsigned long long combine(int kind, size_t first, unsigned mask) {
  unsigned long long r = 0;
  bool started = false;
  for (int i = 0; i < 32; i++) {
    if (!(mask >> i & 1)) continue;
    const unsigned v = (unsigned)threads[first + i].request.value;
    const unsigned a = (unsigned)r;
    if (!started) r = v;
    else if (kind == ADD_U) r = a + v;
    else if (kind == MIN_U) r = v < a ? v : a;
    else if (kind == MAX_U) r = v > a ? v : a;
    else if (kind == MIN_S) r = (unsigned)((int)v < (int)a ? v : a);
    else if (kind == MAX_S) r = (unsigned)((int)v > (int)a ? v : a);
    else if (kind == AND_U) r = a & v;
    else if (kind == OR_U) r = a | v;
    else r = a ^ v;
    started = true;
  }
  return r;
}

// Lets every complete group of lanes pass its warp operation. Returns false on a divergence error.
static bool release_warp(size_t first, size_t end, bool* progress) {
  for (size_t t = first; t < end; t++) {
    Thread& head = threads[t];
    if (head.state != AT_WARP) continue;
    const unsigned mask = head.request.mask;
    const int kind = head.request.kind;
    if (!(mask >> lane_of(t) & 1)) return complain("a lane is not in the mask of its own warp operation");
    unsigned present = 0;
    bool complete = true;
    for (int i = 0; i < 32 && complete; i++) {
      if (!(mask >> i & 1) || first + i >= end) continue;
      Thread& other = threads[first + i];
      if (other.state == DONE) continue;
      if (other.state != AT_WARP) { complete = false; continue; }
      if (other.request.mask != mask || other.request.kind != kind)
        return complain("lanes of one mask meet in different warp operations");
      present |= 1u << i;
    }
    if (!complete) continue;
    unsigned ballot = 0;
    for (int i = 0; i < 32 && kind == BALLOT; i++)
      if ((present >> i & 1) && threads[first + i].request.value) ballot |= 1u << i;
    const unsigned long long combined = kind >= ADD_U ? combine(kind, first, present) : 0;
    for (int i = 0; i < 32; i++) {
      if (!(present >> i & 1)) continue;
      Thread& lane = threads[first + i];
      if (kind == SHUFFLE) {
        if (!(present >> lane.request.source & 1)) return complain("a shuffle reads a lane that takes no part");
        lane.result = threads[first + lane.request.source].request.value;
      } else if (kind == BALLOT) {
        lane.result = ballot;
      } else if (kind == MATCH_ANY) {
        unsigned same = 0;
        for (int j = 0; j < 32; j++)
          if ((present >> j & 1) && threads[first + j].request.value == lane.request.value) same |= 1u << j;
        lane.result = same;
      } else {
        lane.result = combined;
      }
    }
    for (int i = 0; i < 32; i++)
      if (present >> i & 1) threads[first + i].state = READY;
    *progress = true;
  }
  return true;
}

static bool run_block(size_t n, size_t shared, bool reverse) {
  memset(dynamic_buffer, 0xff, shared + GUARD);
  if (__start_emushared) memset(__start_emushared, 0xff, (size_t)(__stop_emushared - __start_emushared));
  for (size_t t = 0; t < n; t++) threads[t].state = NEW;
  const size_t n_warps = (n + 31) / 32;
  for (;;) {
    for (size_t i = 0; i < n_warps; i++) {
      const size_t first = 32 * (reverse ? n_warps - 1 - i : i), end = first + 32 < n ? first + 32 : n;
      for (bool progress = true; progress;) {
        progress = false;
        for (size_t j = first; j < end; j++) {
          const size_t t = reverse ? first + end - 1 - j : j;
          if (threads[t].state == NEW || threads[t].state == READY) {
            resume(t);
            progress = true;
          }
        }
        if (!release_warp(first, end, &progress)) return false;
      }
    }
    size_t waiting = 0, done = 0, count = 0;
    for (size_t t = 0; t < n; t++) {
      if (threads[t].state == DONE) done++;
      if (threads[t].state == AT_BLOCK) { waiting++; count += threads[t].request.value != 0; }
    }
    if (done == n) break;
    if (waiting + done != n) return complain("deadlock: lanes wait for others that never come to the warp operation");
    for (size_t t = 0; t < n; t++)
      if (threads[t].state == AT_BLOCK) {
        const int want = threads[t].request.source;  // 0 plain or count, 1 or, 2 and
        threads[t].result = want == 0 ? count : want == 1 ? count > 0 : count == waiting;
        threads[t].state = READY;
      }
  }
  for (size_t i = 0; i < GUARD; i++)
    if ((unsigned char)dynamic_buffer[shared + i] != 0xff) return complain("wrote beyond the dynamic shared memory");
  return true;
}

static const char* run(void (*call)(void**), const unsigned* grid, const unsigned* block, size_t shared, void** args,
                       int reverse) {
  invoke = call;
  arguments = args;
  gridDim = dim3(grid[0], grid[1], grid[2]);
  blockDim = dim3(block[0], block[1], block[2]);
  const size_t n = (size_t)block[0] * block[1] * block[2], n_blocks = (size_t)grid[0] * grid[1] * grid[2];
  threads.resize(n);
  for (size_t t = 0; t < n; t++)
    threads[t].place = {(unsigned)t % blockDim.x, (unsigned)t / blockDim.x % blockDim.y,
                        (unsigned)t / (blockDim.x * blockDim.y)};
  for (size_t i = 0; i < n_blocks; i++) {
    const size_t b = reverse ? n_blocks - 1 - i : i;
    blockIdx.x = (unsigned)(b % grid[0]);
    blockIdx.y = (unsigned)(b / grid[0] % grid[1]);
    blockIdx.z = (unsigned)(b / ((size_t)grid[0] * grid[1]));
    if (!run_block(n, shared, reverse != 0)) {
      for (size_t t = 0; t < n; t++)  // the abandoned fibres give their stacks back
        if (threads[t].state != DONE && threads[t].state != NEW) free_stacks.push_back(threads[t].stack);
      return message.c_str();
    }
  }
  return nullptr;
}

// ---- signature of a kernel: per argument "pointer const kind size lanes;"
template <class T> struct Element { static const char kind = std::is_void<T>::value ? 'v' : 's'; using base = T; };
#define EMULATED_KIND(T, letter) \
  template <> struct Element<T> { static const char kind = letter; using base = T; };
EMULATED_KIND(float, 'f')
EMULATED_KIND(double, 'f')
EMULATED_KIND(bool, 'b')
EMULATED_KIND(char, 'i')
EMULATED_KIND(signed char, 'i')
EMULATED_KIND(short, 'i')
EMULATED_KIND(int, 'i')
EMULATED_KIND(long, 'i')
EMULATED_KIND(long long, 'i')
EMULATED_KIND(unsigned char, 'u')
EMULATED_KIND(unsigned short, 'u')
EMULATED_KIND(unsigned, 'u')
EMULATED_KIND(unsigned long, 'u')
EMULATED_KIND(unsigned long long, 'u')
#define EMULATED_KINDS(T, name, letter)                                                                  \
  template <> struct Element<name##2> { static const char kind = letter; using base = T; };              \
  template <> struct Element<name##3> { static const char kind = letter; using base = T; };              \
  template <> struct Element<name##4> { static const char kind = letter; using base = T; };
EMULATED_KINDS(float, float, 'f')
EMULATED_KINDS(double, double, 'f')
EMULATED_KINDS(int, int, 'i')
EMULATED_KINDS(unsigned, uint, 'u')
EMULATED_KINDS(long long, longlong, 'i')
EMULATED_KINDS(unsigned long long, ulonglong, 'u')
EMULATED_KINDS(short, short, 'i')
EMULATED_KINDS(unsigned short, ushort, 'u')
EMULATED_KINDS(signed char, char, 'i')
EMULATED_KINDS(unsigned char, uchar, 'u')
template <class T> struct Size { static const size_t value = sizeof(T); };
template <> struct Size<void> { static const size_t value = 1; };

template <class P> static std::string describe() {
  using target = typename std::remove_pointer<P>::type;
  using plain = typename std::remove_cv<target>::type;
  using base = typename Element<plain>::base;
  std::string s = std::is_pointer<P>::value ? "p" : "s";
  s += std::is_const<target>::value ? " 1 " : " 0 ";
  s += Element<plain>::kind;
  s += " " + std::to_string(Size<base>::value) + " " + std::to_string(Size<plain>::value / Size<base>::value);
  return s + ";";
}
template <class F> struct Call;
template <class... P> struct Call<void (*)(P...)> {
  template <void (*f)(P...), size_t... I> static void unpack(void** a, std::index_sequence<I...>) {
    (void)a;
    f(*static_cast<typename std::remove_cv<P>::type*>(a[I])...);
  }
  template <void (*f)(P...)> static void invoke(void** a) { unpack<f>(a, std::index_sequence_for<P...>()); }
  static const char* signature() {
    static const std::string text = (std::string() + ... + describe<typename std::remove_cv<P>::type>());
    return text.c_str();
  }
};
}  // namespace emulated

#define EMULATED_KERNEL(NAME)                                                                            \
  extern "C" const char* emulated_signature_##NAME() { return emulated::Call<decltype(&NAME)>::signature(); } \
  extern "C" const char* emulated_launch_##NAME(const unsigned* g, const unsigned* b, size_t s, void** a, int r) { \
    return emulated::run(&emulated::Call<decltype(&NAME)>::invoke<&NAME>, g, b, s, a, r);                \
  }

// ---- barriers and warp operations
static inline void __syncthreads() { emulated::wait(emulated::AT_BLOCK, {emulated::SYNC_BLOCK, 0, 0, 0}); }
static inline int __syncthreads_count(int p) {
  return (int)emulated::wait(emulated::AT_BLOCK, {emulated::SYNC_BLOCK, 0, 0, (unsigned long long)(p != 0)});
}
static inline int __syncthreads_or(int p) {
  return (int)emulated::wait(emulated::AT_BLOCK, {emulated::SYNC_BLOCK, 0, 1, (unsigned long long)(p != 0)});
}
static inline int __syncthreads_and(int p) {
  return (int)emulated::wait(emulated::AT_BLOCK, {emulated::SYNC_BLOCK, 0, 2, (unsigned long long)(p != 0)});
}
static inline void __syncwarp(unsigned mask = 0xffffffffu) {
  emulated::wait(emulated::AT_WARP, {emulated::SYNC_WARP, mask, 0, 0});
}
static inline int emulated_lane() {
  return (int)((threadIdx.x + blockDim.x * (threadIdx.y + blockDim.y * threadIdx.z)) & 31u);
}
template <class T> static inline T emulated_shuffle(unsigned mask, T v, int source) {
  static_assert(sizeof(T) == 4 || sizeof(T) == 8, "shuffles move 4 or 8 bytes");
  static_assert(std::is_arithmetic<T>::value, "shuffles move numbers");
  unsigned long long bits = 0;
  memcpy(&bits, &v, sizeof v);
  bits = emulated::wait(emulated::AT_WARP, {emulated::SHUFFLE, mask, source, bits});
  memcpy(&v, &bits, sizeof v);
  return v;
}
template <class T> static inline T __shfl_sync(unsigned mask, T v, int source, int width = 32) {
  return emulated_shuffle(mask, v, (emulated_lane() & ~(width - 1)) | (source & (width - 1)));
}
template <class T> static inline T __shfl_up_sync(unsigned mask, T v, unsigned delta, int width = 32) {
  const int lane = emulated_lane(), in = lane & (width - 1);
  return emulated_shuffle(mask, v, in < (int)delta ? lane : lane - (int)delta);
}
template <class T> static inline T __shfl_down_sync(unsigned mask, T v, unsigned delta, int width = 32) {
  const int lane = emulated_lane(), in = lane & (width - 1);
  return emulated_shuffle(mask, v, in + (int)delta >= width ? lane : lane + (int)delta);
}
template <class T> static inline T __shfl_xor_sync(unsigned mask, T v, int bits, int width = 32) {
  const int lane = emulated_lane(), other = lane ^ bits;
  return emulated_shuffle(mask, v, (other & ~(width - 1)) > (lane & ~(width - 1)) ? lane : other);
}
static inline unsigned __ballot_sync(unsigned mask, int p) {
  return (unsigned)emulated::wait(emulated::AT_WARP, {emulated::BALLOT, mask, 0, (unsigned long long)(p != 0)});
}
static inline int __any_sync(unsigned mask, int p) { return __ballot_sync(mask, p) != 0; }
static inline int __all_sync(unsigned mask, int p) { return __ballot_sync(mask, !p) == 0; }
template <class T> static inline unsigned __match_any_sync(unsigned mask, T v) {
  unsigned long long bits = 0;
  memcpy(&bits, &v, sizeof v);
  return (unsigned)emulated::wait(emulated::AT_WARP, {emulated::MATCH_ANY, mask, 0, bits});
}
#define EMULATED_REDUCE(name, T, kind)                                                                   \
  static inline T name(unsigned mask, T v) {                                                             \
    return (T)(unsigned)emulated::wait(emulated::AT_WARP, {emulated::kind, mask, 0, (unsigned)v});       \
  }
EMULATED_REDUCE(__reduce_add_sync, unsigned, ADD_U)
EMULATED_REDUCE(__reduce_add_sync, int, ADD_U)
EMULATED_REDUCE(__reduce_min_sync, unsigned, MIN_U)
EMULATED_REDUCE(__reduce_max_sync, unsigned, MAX_U)
EMULATED_REDUCE(__reduce_min_sync, int, MIN_S)
EMULATED_REDUCE(__reduce_max_sync, int, MAX_S)
EMULATED_REDUCE(__reduce_and_sync, unsigned, AND_U)
EMULATED_REDUCE(__reduce_or_sync, unsigned, OR_U)
EMULATED_REDUCE(__reduce_xor_sync, unsigned, XOR_U)
static inline unsigned __activemask() { return 0xffffffffu; }
static inline void __threadfence() {}
static inline void __threadfence_block() {}
static inline void __threadfence_system() {}

// ---- atomics, on integers only: sums of floating-point numbers would depend on the order of the threads
template <class T> struct emulated_integer {
  static_assert(std::is_same<T, int>::value || std::is_same<T, unsigned>::value ||
                    std::is_same<T, unsigned long long>::value || std::is_same<T, long long>::value,
                "atomics are for integers: floating-point ones depend on the order of the threads");
  using type = T;
};
#define EMULATED_ATOMIC(name, expression)                                                                \
  template <class T> static inline T name(T* p, typename emulated_integer<T>::type v) {                  \
    const T old = *p;                                                                                    \
    *p = (T)(expression);                                                                                \
    return old;                                                                                          \
  }
EMULATED_ATOMIC(atomicAdd, old + v)
EMULATED_ATOMIC(atomicSub, old - v)
EMULATED_ATOMIC(atomicMin, v < old ? v : old)
EMULATED_ATOMIC(atomicMax, v > old ? v : old)
EMULATED_ATOMIC(atomicAnd, old & v)
EMULATED_ATOMIC(atomicOr, old | v)
EMULATED_ATOMIC(atomicXor, old ^ v)
EMULATED_ATOMIC(atomicExch, v)
EMULATED_ATOMIC(atomicInc, old >= v ? 0 : old + 1)
template <class T>
static inline T atomicCAS(T* p, typename emulated_integer<T>::type compare, typename emulated_integer<T>::type v) {
  const T old = *p;
  if (old == compare) *p = v;
  return old;
}

// ---- arithmetic
template <class A, class B> static constexpr typename std::common_type<A, B>::type min(A a, B b) {
  using T = typename std::common_type<A, B>::type;
  return (T)b < (T)a ? (T)b : (T)a;
}
template <class A, class B> static constexpr typename std::common_type<A, B>::type max(A a, B b) {
  using T = typename std::common_type<A, B>::type;
  return (T)a < (T)b ? (T)b : (T)a;
}
template <class T> static inline T __ldg(const T* p) { return *p; }
template <class T> static inline T __ldcs(const T* p) { return *p; }
template <class T> static inline T __ldcg(const T* p) { return *p; }
template <class T> static inline void __stcs(T* p, T v) { *p = v; }
template <class T> static inline void __stcg(T* p, T v) { *p = v; }

// The C library declares these names for itself.
#define __expf emulated_expf
#define __exp10f emulated_exp10f
#define __logf emulated_logf
#define __log2f emulated_log2f
#define __log10f emulated_log10f
#define __sinf emulated_sinf
#define __cosf emulated_cosf
#define __tanf emulated_tanf
#define __sincosf emulated_sincosf
#define __powf emulated_powf
static inline float __expf(float x) { return expf(x); }
static inline float __exp10f(float x) { return (float)exp10((double)x); }
static inline float __logf(float x) { return logf(x); }
static inline float __log2f(float x) { return log2f(x); }
static inline float __log10f(float x) { return log10f(x); }
static inline float __sinf(float x) { return sinf(x); }
static inline float __cosf(float x) { return cosf(x); }
static inline float __tanf(float x) { return tanf(x); }
static inline void __sincosf(float x, float* s, float* c) { *s = sinf(x), *c = cosf(x); }
static inline float __powf(float x, float y) { return powf(x, y); }
static inline float __fdividef(float x, float y) { return x / y; }
static inline float __saturatef(float x) { return x < 0 ? 0.0f : x > 1 ? 1.0f : x; }
static inline float rsqrtf(float x) { return 1.0f / sqrtf(x); }
static inline double rsqrt(double x) { return 1.0 / sqrt(x); }
static inline float rsqrt(float x) { return 1.0f / sqrtf(x); }
static inline float rcbrtf(float x) { return 1.0f / cbrtf(x); }
static inline double rcbrt(double x) { return 1.0 / cbrt(x); }
static const double emulated_pi = 3.14159265358979323846;
static inline void sincospi(double x, double* s, double* c) {
  const double r = x - 2.0 * rint(0.5 * x), q = rint(2.0 * r), a = emulated_pi * (r - 0.5 * q);  // exact reduction
  const double u = sin(a), v = cos(a);
  switch ((int)q & 3) {
    case 0: *s = u, *c = v; break;
    case 1: *s = v, *c = -u; break;
    case 2: *s = -u, *c = -v; break;
    default: *s = -v, *c = u;
  }
}
static inline void sincospif(float x, float* s, float* c) {
  double p, q;
  sincospi((double)x, &p, &q);
  *s = (float)p, *c = (float)q;
}
static inline double emulated_sinpi(double x) { double s, c; sincospi(x, &s, &c); return s; }
static inline double emulated_cospi(double x) { double s, c; sincospi(x, &s, &c); return c; }
#define sinpi emulated_sinpi
#define cospi emulated_cospi
#define sinpif emulated_sinpif
#define cospif emulated_cospif
static inline float sinpif(float x) { return (float)emulated_sinpi((double)x); }
static inline float cospif(float x) { return (float)emulated_cospi((double)x); }
static inline float norm3df(float x, float y, float z) { return sqrtf(x * x + y * y + z * z); }
static inline double norm3d(double x, double y, double z) { return sqrt(x * x + y * y + z * z); }
static inline float rnorm3df(float x, float y, float z) { return 1.0f / norm3df(x, y, z); }
static inline double rnorm3d(double x, double y, double z) { return 1.0 / norm3d(x, y, z); }
static inline double emulated_bessel(int order, double x) {  // power series, then the asymptotic one
  const double a = fabs(x), q = 0.25 * a * a;
  double sum = 1.0, term = 1.0;
  if (a < 30.0) {
    for (int k = 1; k < 200 && term > 1e-17 * sum; k++) sum += term *= q / ((double)k * (k + order));
    return order ? 0.5 * x * sum : sum;
  }
  for (int k = 1; k < 30; k++) {
    const double odd = 2.0 * k - 1.0;
    const double next = -term * (4.0 * order * order - odd * odd) / (8.0 * a * k);
    if (fabs(next) > fabs(term)) break;
    sum += term = next;
  }
  const double value = exp(a) / sqrt(2.0 * emulated_pi * a) * sum;
  return order && x < 0 ? -value : value;
}
static inline double cyl_bessel_i0(double x) { return emulated_bessel(0, x); }
static inline double cyl_bessel_i1(double x) { return emulated_bessel(1, x); }
static inline float cyl_bessel_i0f(float x) { return (float)emulated_bessel(0, (double)x); }
static inline float cyl_bessel_i1f(float x) { return (float)emulated_bessel(1, (double)x); }

#define EMULATED_ROUNDED(s)                                                                              \
  static inline float __fadd_##s(float a, float b) { return a + b; }                                     \
  static inline float __fsub_##s(float a, float b) { return a - b; }                                     \
  static inline float __fmul_##s(float a, float b) { return a * b; }                                     \
  static inline float __fdiv_##s(float a, float b) { return a / b; }                                     \
  static inline float __fsqrt_##s(float a) { return sqrtf(a); }                                          \
  static inline float __frcp_##s(float a) { return 1.0f / a; }                                           \
  static inline float __fmaf_##s(float a, float b, float c) { return fmaf(a, b, c); }                    \
  static inline double __dadd_##s(double a, double b) { return a + b; }                                  \
  static inline double __dsub_##s(double a, double b) { return a - b; }                                  \
  static inline double __dmul_##s(double a, double b) { return a * b; }                                  \
  static inline double __ddiv_##s(double a, double b) { return a / b; }                                  \
  static inline double __dsqrt_##s(double a) { return sqrt(a); }                                         \
  static inline double __drcp_##s(double a) { return 1.0 / a; }                                          \
  static inline double __fma_##s(double a, double b, double c) { return fma(a, b, c); }
EMULATED_ROUNDED(rn)
static inline float __frsqrt_rn(float a) { return 1.0f / sqrtf(a); }
static inline float __double2float_rn(double a) { return (float)a; }
static inline int __float2int_rn(float a) { return (int)rintf(a); }
static inline int __float2int_rd(float a) { return (int)floorf(a); }
static inline int __float2int_ru(float a) { return (int)ceilf(a); }
static inline int __float2int_rz(float a) { return (int)a; }
static inline int __double2int_rn(double a) { return (int)rint(a); }
static inline int __double2int_rd(double a) { return (int)floor(a); }
static inline int __double2int_ru(double a) { return (int)ceil(a); }
static inline int __double2int_rz(double a) { return (int)a; }
static inline long long __double2ll_rn(double a) { return (long long)rint(a); }
static inline long long __double2ll_rd(double a) { return (long long)floor(a); }
static inline long long __double2ll_rz(double a) { return (long long)a; }
static inline long long __float2ll_rn(float a) { return (long long)rintf(a); }
static inline float __int2float_rn(int a) { return (float)a; }
static inline double __int2double_rn(int a) { return (double)a; }
static inline double __ll2double_rn(long long a) { return (double)a; }
template <class To, class From> static inline To emulated_bits(From a) {
  static_assert(sizeof(To) == sizeof(From), "");
  To b;
  memcpy(&b, &a, sizeof b);
  return b;
}
static inline float __int_as_float(int a) { return emulated_bits<float>(a); }
static inline int __float_as_int(float a) { return emulated_bits<int>(a); }
static inline float __uint_as_float(unsigned a) { return emulated_bits<float>(a); }
static inline unsigned __float_as_uint(float a) { return emulated_bits<unsigned>(a); }
static inline double __longlong_as_double(long long a) { return emulated_bits<double>(a); }
static inline long long __double_as_longlong(double a) { return emulated_bits<long long>(a); }
static inline int __popc(unsigned a) { return __builtin_popcount(a); }
static inline int __popcll(unsigned long long a) { return __builtin_popcountll(a); }
static inline int __clz(int a) { return a ? __builtin_clz((unsigned)a) : 32; }
static inline int __clzll(long long a) { return a ? __builtin_clzll((unsigned long long)a) : 64; }
static inline int __ffs(int a) { return __builtin_ffs(a); }
static inline int __ffsll(long long a) { return __builtin_ffsll(a); }
static inline unsigned __brev(unsigned a) {
  unsigned r = 0;
  for (int i = 0; i < 32; i++) r |= (a >> i & 1u) << (31 - i);
  return r;
}
static inline int __mulhi(int a, int b) { return (int)((long long)a * b >> 32); }
static inline unsigned __umulhi(unsigned a, unsigned b) { return (unsigned)((unsigned long long)a * b >> 32); }
static inline unsigned long long __umul64hi(unsigned long long a, unsigned long long b) {
  return (unsigned long long)((unsigned __int128)a * b >> 64);
}
