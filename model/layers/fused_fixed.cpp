// Training on a CPU: the elementwise layers of the fixed-point phase, each in one pass forward and one back. Called from
// fused_fixed.py, which states what is computed. Values are multiples of powers of two below 2**24 of their steps
// (numerics.py), so that float32 is exact in whatever order the compiler adds them; the library is that of float32 maps.
#include "fused.hpp"

#include <cmath>

#ifdef FLOAT_MAPS

using namespace bhvit;

namespace {

// Quantizer clip(floor(x / step), lo, hi) * step, as it comes from Python: {1 / step, step, lo, hi}.
struct Floor {
    float inverse, step, lo, hi;
    explicit Floor(const float* q) : inverse(q[0]), step(q[1]), lo(q[2]), hi(q[3]) {}
    float operator()(float x) const { return std::min(std::max(std::floor(x * inverse), lo), hi) * step; }
    bool inside(float x) const {
        const float y = std::floor(x * inverse);
        return y >= lo && y <= hi;
    }
};

template <bool RES1, bool ACT, bool RES2>
void forward_row(i64 channels, const float* __restrict acc, const float* __restrict v, const float* __restrict res1, float r,
                 const float* __restrict res2, Floor fz, Floor fy, float* __restrict out) {
    const float *__restrict m = v, *__restrict o = v + channels, *__restrict p = v + 2 * channels;
    const float *__restrict n = v + 3 * channels, *__restrict o2 = v + 4 * channels;
#pragma omp simd
    for (i64 c = 0; c < channels; ++c) {
        float t = acc[c] * m[c] + o[c];
        if (RES1) t += res1[c] * r;
        if (ACT) {
            const float z = fz(t);
            t = (z >= 0.0f ? p[c] : n[c]) * z + o2[c];
            if (RES2) t += res2[c];
        }
        out[c] = fy(t);
    }
}

template <bool RES1, bool ACT, bool RES2>
void backward_row(i64 channels, const float* __restrict g, const float* __restrict acc, const float* __restrict v,
                  const float* __restrict res1, float r, const float* __restrict res2, Floor fz, Floor fy,
                  float* __restrict gacc, float* __restrict g1, float* __restrict g2, float* __restrict s) {
    const float *__restrict m = v, *__restrict o = v + channels, *__restrict p = v + 2 * channels;
    const float *__restrict n = v + 3 * channels, *__restrict o2 = v + 4 * channels;
    float *__restrict sm = s, *__restrict so = s + channels, *__restrict sp = s + 2 * channels;
    float *__restrict sn = s + 3 * channels, *__restrict so2 = s + 4 * channels, *__restrict sr = s + 5 * channels;
#pragma omp simd
    for (i64 c = 0; c < channels; ++c) {
        float t = acc[c] * m[c] + o[c];
        if (RES1) t += res1[c] * r;
        float d;
        if (ACT) {
            const float z = fz(t), slope = z >= 0.0f ? p[c] : n[c];
            float u = slope * z + o2[c];
            if (RES2) u += res2[c];
            const float gu = fy.inside(u) ? g[c] : 0.0f, product = gu * z;
            sp[c] += z >= 0.0f ? product : 0.0f;
            sn[c] += z >= 0.0f ? 0.0f : product;
            so2[c] += gu;
            if (RES2) g2[c] = gu;
            d = fz.inside(t) ? gu * slope : 0.0f;
        } else {
            d = fy.inside(t) ? g[c] : 0.0f;
        }
        sm[c] += d * acc[c];
        so[c] += d;
        gacc[c] = d * m[c];
        if (RES1) {
            sr[c] += d * res1[c];
            g1[c] = d * r;
        }
    }
}

}  // namespace

extern "C" {

// t = acc * m + o [+ res1 * r]; without act y = fy(t), with it z = fz(t), y = fy((z >= 0 ? p : n) * z + o2 [+ res2]).
// v (5, C): m, o, p, n, o2. q (9): fz, fy, r. act: null for none.
void bv_fixed(i64 rows, i64 channels, const float* acc, const float* v, const float* res1, const float* res2, const float* act,
              const float* q, float* out, int threads) {
    const Floor fz(q), fy(q + 4);
    const float r = q[8];
    with_flags([=](auto has_res1, auto has_act, auto has_res2) {
        over_rows(rows, 0, nullptr, threads, [=](i64 first, i64 last, float*) {
            for (i64 i = first * channels; i < last * channels; i += channels)
                forward_row<has_res1(), has_act(), has_res2()>(channels, acc + i, v, res1 + i, r, res2 + i, fz, fy, out + i);
        });
    }, res1, act, res2);
}

// g: gradient of y. gacc, g1 (of res1), g2 (of res2); sums (6, C) of the gradients of m, o, p, n, o2, r
void bv_fixed_back(i64 rows, i64 channels, const float* g, const float* acc, const float* v, const float* res1,
                   const float* res2, const float* act, const float* q, float* gacc, float* g1, float* g2, double* sums,
                   int threads) {
    const Floor fz(q), fy(q + 4);
    const float r = q[8];
    with_flags([=](auto has_res1, auto has_act, auto has_res2) {
        over_rows(rows, 6 * channels, sums, threads, [=](i64 first, i64 last, float* s) {
            for (i64 i = first * channels; i < last * channels; i += channels)
                backward_row<has_res1(), has_act(), has_res2()>(channels, g + i, acc + i, v, res1 + i, r, res2 + i, fz, fy,
                                                                gacc + i, g1 + i, g2 + i, s);
        });
    }, res1, act, res2);
}

// y = f(x), q (4) = f
void bv_floor(i64 rows, i64 channels, const float* x, const float* q, float* y, int threads) {
    const Floor f(q);
    over_rows(rows, 0, nullptr, threads, [=](i64 first, i64 last, float*) {
#pragma omp simd
        for (i64 i = first * channels; i < last * channels; ++i) y[i] = f(x[i]);
    });
}

void bv_floor_back(i64 rows, i64 channels, const float* g, const float* x, const float* q, float* gx, int threads) {
    const Floor f(q);
    over_rows(rows, 0, nullptr, threads, [=](i64 first, i64 last, float*) {
#pragma omp simd
        for (i64 i = first * channels; i < last * channels; ++i) gx[i] = f.inside(x[i]) ? g[i] : 0.0f;
    });
}

// y = sign(x * m + o), +1 at 0; v (2, C): m, o
void bv_decide(i64 rows, i64 channels, const float* x, const float* v, float* y, int threads) {
    over_rows(rows, 0, nullptr, threads, [=](i64 first, i64 last, float*) {
        for (i64 i = first * channels; i < last * channels; i += channels)
#pragma omp simd
            for (i64 c = 0; c < channels; ++c) y[i + c] = x[i + c] * v[c] + v[channels + c] >= 0.0f ? 1.0f : -1.0f;
    });
}

// Gradient g * max(0, 2 - 2 |x * m + o|) of the argument: gx, sums (2, C) of the gradients of m, o
void bv_decide_back(i64 rows, i64 channels, const float* g, const float* x, const float* v, float* gx, double* sums,
                    int threads) {
    over_rows(rows, 2 * channels, sums, threads, [=](i64 first, i64 last, float* s) {
        for (i64 i = first * channels; i < last * channels; i += channels)
#pragma omp simd
            for (i64 c = 0; c < channels; ++c) {
                const float d = g[i + c] * std::max(0.0f, 2.0f - 2.0f * std::abs(x[i + c] * v[c] + v[channels + c]));
                gx[i + c] = d * v[c];
                s[c] += d * x[i + c];
                s[channels + c] += d;
            }
    });
}

}  // extern "C"

#endif
