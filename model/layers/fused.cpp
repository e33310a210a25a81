// Training on a CPU: the elementwise layers of the float phase, each fused into one or two passes over its tensors.
//
// Called from fused.py, which states what is computed; the gradients are those of the layers as written in float_parts.py.
#include "fused.hpp"

using namespace bhvit;

namespace {

// Groups of adjacent channels of the usual sizes, known to the compiler: three times faster.
template <class Work>
bool with_ratio(i64 ratio, Work work) {
    if (ratio == 2) work(std::integral_constant<int, 2>{});
    else if (ratio == 4) work(std::integral_constant<int, 4>{});
    else if (ratio == 8) work(std::integral_constant<int, 8>{});
    else return false;
    return true;
}

template <int RATIO>
void group_means(i64 groups, const real* __restrict x, real* __restrict out) {
    for (i64 c = 0; c < groups; ++c) {
        float sum = 0.0f;
        for (int k = 0; k < RATIO; ++k) sum += up(x[c * RATIO + k]);
        out[c] = down(sum * (1.0f / RATIO));
    }
}

template <int RATIO>
void spread_means(i64 groups, const real* __restrict mean, float* __restrict d) {
    for (i64 c = 0; c < groups; ++c) {
        const float v = up(mean[c]) * (1.0f / RATIO);
        for (int k = 0; k < RATIO; ++k) d[c * RATIO + k] += v;
    }
}

template <bool RESIDUAL, bool ACT, bool SECOND>
void forward_part(i64 part, const real* __restrict y, const float* __restrict a, const float* __restrict b,
                  const real* __restrict residual, const float* __restrict p, const float* __restrict n,
                  const float* __restrict o, const real* __restrict second, real* __restrict out) {
    for (i64 c = 0; c < part; ++c) {
        float z = a[c] * up(y[c]) + b[c];
        if (RESIDUAL) z += up(residual[c]);
        if (ACT) z = std::max(z, 0.0f) * p[c] + std::min(z, 0.0f) * n[c] + o[c];
        if (SECOND) z += up(second[c]);
        out[c] = down(z);
    }
}

// s: first of five rows of sums, `channels` apart
template <bool RESIDUAL, bool ACT, bool BACK>
void backward_part(i64 part, i64 channels, const real* __restrict g, const real* __restrict y, const float* __restrict a,
                   const float* __restrict b, const real* __restrict residual, const float* __restrict p,
                   const float* __restrict n, real* __restrict gz, float* __restrict total, float* s) {
    float *__restrict s0 = s, *__restrict s1 = s + channels, *__restrict s2 = s + 2 * channels;
    float *__restrict s3 = s + 3 * channels, *__restrict s4 = s + 4 * channels;
    for (i64 c = 0; c < part; ++c) {
        const float v = up(g[c]), x = up(y[c]);
        float d = v;
        if (ACT) {
            float z = a[c] * x + b[c];
            if (RESIDUAL) z += up(residual[c]);
            const float above = z > 0.0f ? v : 0.0f, below = v - above;
            d = above * p[c] + below * n[c];
            s2[c] += above * z;
            s3[c] += below * z;
            s4[c] += v;
            gz[c] = down(d);
        }
        s0[c] += d;
        s1[c] += d * x;
        if (BACK) total[c] += d;
    }
}

}  // namespace

extern "C" {

// sums[0:C] += y, sums[C:2C] += y * y
void bv_moments(i64 rows, i64 channels, const real* y, double* sums, int threads) {
    over_rows(rows, 2 * channels, sums, threads, [=](i64 first, i64 last, float* s) {
        float *s1 = s, *s2 = s + channels;
        for (i64 r = first; r < last; ++r) {
            const real* row = y + r * channels;
#pragma omp simd
            for (i64 c = 0; c < channels; ++c) {
                const float v = up(row[c]);
                s1[c] += v;
                s2[c] += v * v;
            }
        }
    });
}

// z = a * y + b [+ residual, channels repeated]; out = max(z, 0) * p + min(z, 0) * n + o [+ second]
// without p: out = z [+ second]. residual: (rows, part), part divides channels; null where there is none (part = channels).
void bv_norm_act(i64 rows, i64 channels, i64 part, const real* y, const float* a, const float* b, const real* residual,
                 const float* p, const float* n, const float* o, const real* second, real* out, int threads) {
    with_flags([=](auto has_residual, auto has_act, auto has_second) {
        over_rows(rows, 0, nullptr, threads, [=](i64 first, i64 last, float*) {
            for (i64 r = first; r < last; ++r)
                for (i64 k = 0; k < channels; k += part)
                    forward_part<has_residual(), has_act(), has_second()>(
                        part, y + r * channels + k, a + k, b + k, residual + r * part, p + k, n + k, o + k,
                        second + r * channels + k, out + r * channels + k);
        });
    }, residual, p, second);
}

// Gradient of z: gz = g * (z > 0 ? p : n), or g itself without p (then gz may be null). residual_gradient (rows, part),
// wanted where channels repeat: sum of gz over the repetitions.
// sums (5, channels) += gz, gz * y, g * max(z, 0), g * min(z, 0), g
void bv_norm_act_back(i64 rows, i64 channels, i64 part, const real* g, const real* y, const float* a, const float* b,
                      const real* residual, const float* p, const float* n, real* gz, real* residual_gradient, double* sums,
                      int threads) {
    with_flags([=](auto has_residual, auto has_act, auto has_back) {
        over_rows(rows, 5 * channels, sums, threads, [=](i64 first, i64 last, float* s) {
            std::vector<float> total(part);
            for (i64 r = first; r < last; ++r) {
                if (has_back()) std::fill(total.begin(), total.end(), 0.0f);
                for (i64 k = 0; k < channels; k += part)
                    backward_part<has_residual(), has_act(), has_back()>(
                        part, channels, g + r * channels + k, y + r * channels + k, a + k, b + k, residual + r * part, p + k,
                        n + k, gz + r * channels + k, total.data(), s + k);
                if (has_back())
                    for (i64 c = 0; c < part; ++c) residual_gradient[r * part + c] = down(total[c]);
            }
        });
    }, residual, p, residual_gradient);
}

// out = k0 * g + k1 * y + k2: the gradient behind a batch norm
void bv_combine(i64 rows, i64 channels, const real* g, const real* y, const float* k0, const float* k1, const float* k2,
                real* out, int threads) {
    over_rows(rows, 0, nullptr, threads, [=](i64 first, i64 last, float*) {
        for (i64 r = first; r < last; ++r) {
            const real *gr = g + r * channels, *yr = y + r * channels;
            real* to = out + r * channels;
#pragma omp simd
            for (i64 c = 0; c < channels; ++c) to[c] = down(k0[c] * up(gr[c]) + k1[c] * up(yr[c]) + k2[c]);
        }
    });
}

// out = sign(x + move), +1 at 0; pooled (where not null) = mean of `ratio` adjacent channels of x
void bv_sign(i64 rows, i64 channels, i64 ratio, const real* x, const float* move, real* out, real* pooled, int threads) {
    over_rows(rows, 0, nullptr, threads, [=](i64 first, i64 last, float*) {
        const real plus = down(1.0f), minus = down(-1.0f);
        const i64 part = channels / ratio;
        for (i64 r = first; r < last; ++r) {
            const real* row = x + r * channels;
            real* to = out + r * channels;
#pragma omp simd
            for (i64 c = 0; c < channels; ++c) to[c] = up(row[c]) + move[c] >= 0.0f ? plus : minus;
            if (!pooled) continue;
            const bool known = with_ratio(ratio, [&](auto fixed) { group_means<fixed()>(part, row, pooled + r * part); });
            if (known) continue;
            for (i64 c = 0; c < part; ++c) {
                float sum = 0.0f;
                for (i64 k = 0; k < ratio; ++k) sum += up(row[c * ratio + k]);
                pooled[r * part + c] = down(sum / static_cast<float>(ratio));
            }
        }
    });
}

// gx = g * max(0, 2 - 2 |x + move|) [+ gp of the channel's group / ratio]; sums[0:C] += the first term
void bv_sign_back(i64 rows, i64 channels, i64 ratio, const real* g, const real* gp, const real* x, const float* move, real* gx,
                  double* sums, int threads) {
    over_rows(rows, channels, sums, threads, [=](i64 first, i64 last, float* s) {
        const i64 part = channels / ratio;
        std::vector<float> buffer(channels);
        float* d = buffer.data();
        for (i64 r = first; r < last; ++r) {
            const real *from = g + r * channels, *row = x + r * channels;
            real* to = gx + r * channels;
#pragma omp simd
            for (i64 c = 0; c < channels; ++c) {
                d[c] = up(from[c]) * std::max(0.0f, 2.0f - 2.0f * std::abs(up(row[c]) + move[c]));
                s[c] += d[c];
            }
            if (gp) {
                const real* mean = gp + r * part;
                const bool known = with_ratio(ratio, [&](auto fixed) { spread_means<fixed()>(part, mean, d); });
                for (i64 c = 0; c < part && !known; ++c)
                    for (i64 k = 0; k < ratio; ++k) d[c * ratio + k] += up(mean[c]) / static_cast<float>(ratio);
            }
#pragma omp simd
            for (i64 c = 0; c < channels; ++c) to[c] = down(d[c]);
        }
    });
}

// Circular cross of nine taps: out = sum over t of coef[t] * u at (row + dy[t], column + dx[t]) + o [+ y]; maps (B, H, W, C)
void bv_shift(i64 batch, i64 height, i64 width, i64 channels, const i64* dy, const i64* dx, const real* u, const float* coef,
              const float* o, const real* y, real* out, int threads) {
    over_rows(batch * height * width, 0, nullptr, threads, [=](i64 first, i64 last, float*) {
        std::vector<float> buffer(channels);
        float* z = buffer.data();
        for (i64 r = first; r < last; ++r) {
            const i64 column = r % width, line = r / width % height, base = r / (width * height) * height;
            for (i64 c = 0; c < channels; ++c) z[c] = o[c];
            for (int t = 0; t < 9; ++t) {
                const i64 at = (base + (line + dy[t] + 4 * height) % height) * width + (column + dx[t] + 4 * width) % width;
                const real* from = u + at * channels;
                const float* k = coef + t * channels;
#pragma omp simd
                for (i64 c = 0; c < channels; ++c) z[c] += k[c] * up(from[c]);
            }
            if (y) {
                const real* add = y + r * channels;
#pragma omp simd
                for (i64 c = 0; c < channels; ++c) z[c] += up(add[c]);
            }
            real* to = out + r * channels;
#pragma omp simd
            for (i64 c = 0; c < channels; ++c) to[c] = down(z[c]);
        }
    });
}

// sums (10, C) += g * u at tap t (nine rows), g
void bv_shift_sums(i64 batch, i64 height, i64 width, i64 channels, const i64* dy, const i64* dx, const real* u, const real* g,
                   double* sums, int threads) {
    over_rows(batch * height * width, 10 * channels, sums, threads, [=](i64 first, i64 last, float* s) {
        std::vector<float> buffer(channels);
        float* d = buffer.data();
        for (i64 r = first; r < last; ++r) {
            const i64 column = r % width, line = r / width % height, base = r / (width * height) * height;
            const real* row = g + r * channels;
#pragma omp simd
            for (i64 c = 0; c < channels; ++c) {
                d[c] = up(row[c]);
                s[9 * channels + c] += d[c];
            }
            for (int t = 0; t < 9; ++t) {
                const i64 at = (base + (line + dy[t] + 4 * height) % height) * width + (column + dx[t] + 4 * width) % width;
                const real* from = u + at * channels;
                float* k = s + t * channels;
#pragma omp simd
                for (i64 c = 0; c < channels; ++c) k[c] += d[c] * up(from[c]);
            }
        }
    });
}

}  // extern "C"
