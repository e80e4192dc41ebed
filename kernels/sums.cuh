// Sums of a warp and of a block, in the same order in every run.

#define FULL 0xffffffffu

template <class T> __device__ __forceinline__ T warp_sum(T v) {
    for (int step = 16; step > 0; step /= 2) v += __shfl_xor_sync(FULL, v, step);
    return v;
}

// Every one of the N threads of the block calls it, and is given the sum.
template <int N> __device__ double block_sum(double v) {
    __shared__ double part[N];
    __syncthreads();  // the last sum has been read by all
    part[threadIdx.x] = v;
    __syncthreads();
    for (int half = N / 2; half > 0; half /= 2) {
        if (threadIdx.x < half) part[threadIdx.x] += part[threadIdx.x + half];
        __syncthreads();
    }
    return part[0];
}
