// What the fused training kernels share: the type of their maps, blocks of rows on threads, flags known to the compiler.
//
// Maps are bf16, or float32 with -DFLOAT_MAPS, row-major (rows, channels); constants and arithmetic are float32, sums over
// rows float64.
#pragma once

#include <algorithm>
#include <cstdint>
#include <cstring>
#include <type_traits>
#include <vector>

#include <omp.h>

namespace bhvit {

using i64 = int64_t;
constexpr i64 BLOCK = 128;  // rows whose sums are kept in float32

#ifdef FLOAT_MAPS

using real = float;

inline float up(real v) { return v; }
inline real down(float v) { return v; }

#else

using real = uint16_t;  // bf16

inline float up(real v) {
    uint32_t bits = static_cast<uint32_t>(v) << 16;
    float out;
    std::memcpy(&out, &bits, 4);
    return out;
}

inline real down(float v) {  // to nearest, ties to even
    uint32_t bits;
    std::memcpy(&bits, &v, 4);
    return static_cast<real>((bits + 0x7fffu + ((bits >> 16) & 1u)) >> 16);
}

#endif

// Calls work(first, last, sums) for blocks of rows on `threads` threads; `width` float sums per block, added into `total`.
template <class Work>
void over_rows(i64 rows, i64 width, double* total, int threads, Work work) {
    const i64 blocks = (rows + BLOCK - 1) / BLOCK;
    threads = static_cast<int>(std::max<i64>(1, std::min<i64>(threads, blocks)));
    std::vector<double> kept(static_cast<size_t>(threads) * width, 0.0);
#pragma omp parallel num_threads(threads) if (threads > 1)
    {
        const int me = omp_get_thread_num();
        std::vector<float> sums(width);
        double* mine = kept.data() + me * width;
        for (i64 block = blocks * me / threads; block < blocks * (me + 1) / threads; ++block) {
            std::fill(sums.begin(), sums.end(), 0.0f);
            work(block * BLOCK, std::min(rows, (block + 1) * BLOCK), sums.data());
            for (i64 i = 0; i < width; ++i) mine[i] += sums[i];
        }
    }
    for (int t = 0; t < threads; ++t)
        for (i64 i = 0; i < width; ++i) total[i] += kept[t * width + i];
}

// Calls work with three compile-time flags: which of the pointers are there.
template <class Work>
void with_flags(Work work, const void* first, const void* second, const void* third) {
    auto one = [&](auto f, auto s) { third ? work(f, s, std::true_type{}) : work(f, s, std::false_type{}); };
    auto two = [&](auto f) { second ? one(f, std::true_type{}) : one(f, std::false_type{}); };
    first ? two(std::true_type{}) : two(std::false_type{});
}

}  // namespace bhvit
