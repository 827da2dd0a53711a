/* The demo engine's two kernels. Regenerate kernels.ptx and kernels_ptx.inc with regenerate-ptx.sh after a change.
 *
 * hotseat_digest reads every word once: 16 bytes a load, four loads in flight a thread, one atomicAdd a warp, so that
 * on a real GPU it runs at the speed of the memory. Sums of 64-bit words do not depend on the order of the threads.
 * The emulated driver has twins of both in C and finds them by name.
 */
typedef unsigned long long u64;

#define GOLDEN 0x9E3779B97F4A7C15ull

static __device__ __forceinline__ u64 mix64(u64 z)
{
    z = (z ^ (z >> 30)) * 0xBF58476D1CE4E5B9ull;
    z = (z ^ (z >> 27)) * 0x94D049BB133111EBull;
    return z ^ (z >> 31);
}

/* data[i] = mix64(seed ^ (first_index + i + 1) * GOLDEN) */
extern "C" __global__ void hotseat_fill(u64 *data, u64 nwords, u64 first_index, u64 seed)
{
    u64 stride = (u64)gridDim.x * blockDim.x;
    for (u64 i = (u64)blockIdx.x * blockDim.x + threadIdx.x; i < nwords; i += stride)
        data[i] = mix64(seed ^ ((first_index + i + 1) * GOLDEN));
}

static __device__ __forceinline__ u64 pair(ulonglong2 v, u64 index)
{
    return mix64(v.x ^ ((index + 1) * GOLDEN)) + mix64(v.y ^ ((index + 2) * GOLDEN));
}

/* out[0] += sum of mix64(data[i] ^ (first_index + i + 1) * GOLDEN), modulo 2^64 */
extern "C" __global__ void hotseat_digest(const u64 *data, u64 nwords, u64 first_index, u64 *out)
{
    u64 stride = (u64)gridDim.x * blockDim.x;
    u64 thread = (u64)blockIdx.x * blockDim.x + threadIdx.x;
    u64 sum = 0;
    u64 done = 0;

    if (((u64)data & 15) == 0) {
        const ulonglong2 *pairs = (const ulonglong2 *)data;
        u64 npairs = nwords / 2;
        u64 i = thread;
        for (; i + 3 * stride < npairs; i += 4 * stride) {
            ulonglong2 a = __ldcs(pairs + i), b = __ldcs(pairs + i + stride);
            ulonglong2 c = __ldcs(pairs + i + 2 * stride), d = __ldcs(pairs + i + 3 * stride);
            sum += pair(a, first_index + 2 * i) + pair(b, first_index + 2 * (i + stride));
            sum += pair(c, first_index + 2 * (i + 2 * stride)) + pair(d, first_index + 2 * (i + 3 * stride));
        }
        for (; i < npairs; i += stride)
            sum += pair(__ldcs(pairs + i), first_index + 2 * i);
        done = npairs * 2;
    }
    for (u64 i = done + thread; i < nwords; i += stride)
        sum += mix64(data[i] ^ ((first_index + i + 1) * GOLDEN));

    for (int lane = 16; lane > 0; lane /= 2)
        sum += __shfl_down_sync(0xffffffffu, sum, lane);
    if ((threadIdx.x & 31) == 0 && sum != 0)
        atomicAdd(out, sum);
}
