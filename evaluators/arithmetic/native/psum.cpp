// Matrix products whose partial sums are kept as codes of few bits (APSQ, arXiv 2505.03748), in
// the integers of evaluators/arithmetic/psum_reference.py, bit for bit.
//
// A block of outputs stays in registers from the first tile of the reduction to the last. Rounding
// half up to a multiple of 2^e is one addition and one mask: ((v + half) >> e) << e equals
// (v + half) & -2^e, in two's complement. Clamping comes after it, with limits shifted up by e.
//
// Whoever calls has made sure that no sum leaves int32 (evaluators/arithmetic/psum_plan.py).

#include <cstdint>
#include <cstdlib>
#include <cstring>

#define EXPORTED extern "C" __attribute__((visibility("default")))

namespace {

enum Level : int32_t { kNone = 0, kAvx2 = 1, kVnni = 2 };
enum Kind : int32_t { kInt8 = 0, kUint8 = 1, kInt16 = 2, kFloat = 3 };

struct Step {
  int32_t mask, low, high, fold;
};

constexpr int64_t kColumns = 16;  // of a block of packed weights

}  // namespace

// What evaluators/arithmetic/native/library.py lays out, in this order.
struct Product {
  const void* x;               // (batch, m, k), of `kind`
  const void* weights;         // (batch, …): packed, see psum_native.py
  const int32_t* corrections;  // (batch, blocks, tiles, 16): what a tile's sum starts from
  const Step* steps;           // (tiles)
  int32_t* out;                // (batch, m, n)
  int64_t batch, m, k, n, tile, padded, tiles;
  int32_t kind, offset;  // of what is multiplied: x + offset
};

#if defined(__x86_64__)
#include <immintrin.h>

#define VNNI __attribute__((target("avx2,avx512f,avx512bw,avx512vl,avx512vnni")))
#define AVX2 __attribute__((target("avx2")))
#define INSIDE inline __attribute__((always_inline))

namespace {

constexpr int64_t kPanel = 60;  // rows: a multiple of those of both kinds of blocks
constexpr int kVnniRows = 6, kAvx2Rows = 3;

int64_t smaller(int64_t a, int64_t b) { return a < b ? a : b; }

// One panel of rows as the blocks read it: tile after tile, each padded with zeros.
template <typename From, typename To>
INSIDE void lay_out(const Product& p, int64_t row, int64_t rows, To* panel) {
  const int64_t stride = p.tiles * p.padded;
  const From* x = static_cast<const From*>(p.x);
  for (int64_t i = 0; i < kPanel; ++i, panel += stride) {
    if (i >= rows) {
      std::memset(panel, 0, stride * sizeof(To));
      continue;
    }
    const From* source = x + (row + i) * p.k;
    if (p.tile == p.padded && p.k == stride) {
      for (int64_t j = 0; j < stride; ++j) panel[j] = static_cast<To>(int32_t(source[j]) + p.offset);
      continue;
    }
    for (int64_t t = 0; t < p.tiles; ++t) {
      const int64_t size = smaller(p.tile, p.k - t * p.tile);
      To* to = panel + t * p.padded;
      for (int64_t j = 0; j < size; ++j)
        to[j] = static_cast<To>(int32_t(source[t * p.tile + j]) + p.offset);
      for (int64_t j = size; j < p.padded; ++j) to[j] = 0;
    }
  }
}

template <typename To>
INSIDE void lay_out_any(const Product& p, int64_t row, int64_t rows, To* panel) {
  if (p.kind == kInt8) lay_out<int8_t>(p, row, rows, panel);
  else if (p.kind == kUint8) lay_out<uint8_t>(p, row, rows, panel);
  else if (p.kind == kInt16) lay_out<int16_t>(p, row, rows, panel);
  else lay_out<float>(p, row, rows, panel);
}

VNNI void lay_out_vnni(const Product& p, int64_t row, int64_t rows, uint8_t* panel) {
  lay_out_any(p, row, rows, panel);
}

AVX2 void lay_out_avx2(const Product& p, int64_t row, int64_t rows, int16_t* panel) {
  lay_out_any(p, row, rows, panel);
}

INSIDE int32_t four_bytes(const void* at) {
  int32_t bytes;
  std::memcpy(&bytes, at, sizeof(bytes));
  return bytes;
}

// kVnniRows rows by C blocks of 16 columns.
template <int C>
VNNI void block_vnni(const Product& p, const uint8_t* x, int64_t block, int64_t row, int64_t rows) {
  constexpr int R = kVnniRows;
  const int64_t stride = p.tiles * p.padded;
  const int8_t* w = static_cast<const int8_t*>(p.weights) + block * stride * kColumns;
  const int32_t* start = p.corrections + block * p.tiles * kColumns;
  __m512i sums[R][C];
  for (int r = 0; r < R; ++r)
    for (int c = 0; c < C; ++c) sums[r][c] = _mm512_setzero_si512();
  for (int64_t t = 0; t < p.tiles; ++t) {
    const Step step = p.steps[t];
    __m512i part[R][C];
    for (int c = 0; c < C; ++c) {
      const __m512i from = _mm512_loadu_si512(start + (c * p.tiles + t) * kColumns);
      for (int r = 0; r < R; ++r) part[r][c] = step.fold ? _mm512_add_epi32(from, sums[r][c]) : from;
    }
    const uint8_t* xs = x + t * p.padded;
    const int8_t* ws = w + t * p.padded * kColumns;
    for (int64_t j = 0; j < p.padded; j += 4) {
      __m512i columns[C];
      for (int c = 0; c < C; ++c)
        columns[c] = _mm512_loadu_si512(ws + (c * stride + j) * kColumns);
      for (int r = 0; r < R; ++r) {
        const __m512i four = _mm512_set1_epi32(four_bytes(xs + r * stride + j));
        for (int c = 0; c < C; ++c) part[r][c] = _mm512_dpbusd_epi32(part[r][c], four, columns[c]);
      }
    }
    const __m512i mask = _mm512_set1_epi32(step.mask);
    const __m512i low = _mm512_set1_epi32(step.low), high = _mm512_set1_epi32(step.high);
    for (int r = 0; r < R; ++r)
      for (int c = 0; c < C; ++c) {
        const __m512i even = _mm512_and_si512(part[r][c], mask);
        const __m512i code = _mm512_min_epi32(_mm512_max_epi32(even, low), high);
        sums[r][c] = step.fold ? code : _mm512_add_epi32(sums[r][c], code);
      }
  }
  for (int c = 0; c < C; ++c) {
    const int64_t column = (block + c) * kColumns;
    const __mmask16 valid = static_cast<__mmask16>((1u << smaller(kColumns, p.n - column)) - 1);
    for (int r = 0; r < R && r < rows; ++r)
      _mm512_mask_storeu_epi32(p.out + (row + r) * p.n + column, valid, sums[r][c]);
  }
}

// kAvx2Rows rows by one block of 16 columns, two registers wide.
AVX2 void block_avx2(const Product& p, const int16_t* x, int64_t block, int64_t row, int64_t rows) {
  constexpr int R = kAvx2Rows, C = 2, kWide = 8;
  const int64_t stride = p.tiles * p.padded;
  const int16_t* w = static_cast<const int16_t*>(p.weights) + block * stride * kColumns;
  const int32_t* start = p.corrections + block * p.tiles * kColumns;
  __m256i sums[R][C];
  for (int r = 0; r < R; ++r)
    for (int c = 0; c < C; ++c) sums[r][c] = _mm256_setzero_si256();
  for (int64_t t = 0; t < p.tiles; ++t) {
    const Step step = p.steps[t];
    __m256i part[R][C];
    for (int c = 0; c < C; ++c) {
      const __m256i from = _mm256_loadu_si256(
          reinterpret_cast<const __m256i*>(start + t * kColumns + c * kWide));
      for (int r = 0; r < R; ++r) part[r][c] = step.fold ? _mm256_add_epi32(from, sums[r][c]) : from;
    }
    const int16_t* xs = x + t * p.padded;
    const int16_t* ws = w + t * p.padded * kColumns;
    for (int64_t j = 0; j < p.padded; j += 2) {
      __m256i columns[C];
      for (int c = 0; c < C; ++c)
        columns[c] = _mm256_loadu_si256(
            reinterpret_cast<const __m256i*>(ws + j * kColumns + c * 2 * kWide));
      for (int r = 0; r < R; ++r) {
        const __m256i two = _mm256_set1_epi32(four_bytes(xs + r * stride + j));
        for (int c = 0; c < C; ++c)
          part[r][c] = _mm256_add_epi32(part[r][c], _mm256_madd_epi16(two, columns[c]));
      }
    }
    const __m256i mask = _mm256_set1_epi32(step.mask);
    const __m256i low = _mm256_set1_epi32(step.low), high = _mm256_set1_epi32(step.high);
    for (int r = 0; r < R; ++r)
      for (int c = 0; c < C; ++c) {
        const __m256i even = _mm256_and_si256(part[r][c], mask);
        const __m256i code = _mm256_min_epi32(_mm256_max_epi32(even, low), high);
        sums[r][c] = step.fold ? code : _mm256_add_epi32(sums[r][c], code);
      }
  }
  int32_t line[kColumns];
  const int64_t column = block * kColumns, width = smaller(kColumns, p.n - column);
  for (int r = 0; r < R && r < rows; ++r) {
    for (int c = 0; c < C; ++c)
      _mm256_storeu_si256(reinterpret_cast<__m256i*>(line + c * kWide), sums[r][c]);
    std::memcpy(p.out + (row + r) * p.n + column, line, width * sizeof(int32_t));
  }
}

void panel_vnni(const Product& p, uint8_t* panel, int64_t row, int64_t rows) {
  const int64_t stride = p.tiles * p.padded, blocks = (p.n + kColumns - 1) / kColumns;
  lay_out_vnni(p, row, rows, panel);
  for (int64_t b = 0; b < blocks; b += 2)
    for (int64_t i = 0; i < rows; i += kVnniRows) {
      const uint8_t* x = panel + i * stride;
      if (b + 1 < blocks) block_vnni<2>(p, x, b, row + i, rows - i);
      else block_vnni<1>(p, x, b, row + i, rows - i);
    }
}

void panel_avx2(const Product& p, int16_t* panel, int64_t row, int64_t rows) {
  const int64_t stride = p.tiles * p.padded, blocks = (p.n + kColumns - 1) / kColumns;
  lay_out_avx2(p, row, rows, panel);
  for (int64_t b = 0; b < blocks; ++b)
    for (int64_t i = 0; i < rows; i += kAvx2Rows)
      block_avx2(p, panel + i * stride, b, row + i, rows - i);
}

// One product of a batch.
Product item(const Product& all, int64_t i, int64_t width) {
  const int64_t sizes[] = {1, 1, 2, 4};  // of kinds
  const int64_t corrections = (all.n + kColumns - 1) / kColumns * all.tiles * kColumns;
  Product one = all;
  one.x = static_cast<const char*>(all.x) + i * all.m * all.k * sizes[all.kind];
  one.weights = static_cast<const char*>(all.weights) + i * corrections * all.padded * width;
  one.corrections = all.corrections + i * corrections;
  one.out = all.out + i * all.m * all.n;
  return one;
}

}  // namespace

EXPORTED int32_t psum_level() {
  __builtin_cpu_init();
  if (!__builtin_cpu_supports("avx2")) return kNone;
  const bool vnni = __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") &&
                    __builtin_cpu_supports("avx512vl") && __builtin_cpu_supports("avx512vnni");
  return vnni ? kVnni : kAvx2;
}

// Returns 0, or 1 if there is no memory for a panel.
EXPORTED int32_t psum_product(const Product* p, int32_t level) {
  const int64_t width = level == kVnni ? sizeof(uint8_t) : sizeof(int16_t);
  const int64_t bytes = kPanel * p->tiles * p->padded * width;
  void* panel = std::aligned_alloc(64, (bytes + 63) / 64 * 64);
  if (panel == nullptr) return 1;
  for (int64_t i = 0; i < p->batch; ++i) {
    const Product one = item(*p, i, width);
    for (int64_t row = 0; row < one.m; row += kPanel) {
      const int64_t rows = smaller(kPanel, one.m - row);
      if (level == kVnni) panel_vnni(one, static_cast<uint8_t*>(panel), row, rows);
      else panel_avx2(one, static_cast<int16_t*>(panel), row, rows);
    }
  }
  std::free(panel);
  return 0;
}

#else  // another processor: whoever asks gets none, and does without

EXPORTED int32_t psum_level() { return kNone; }
EXPORTED int32_t psum_product(const Product*, int32_t) { return 1; }

#endif
