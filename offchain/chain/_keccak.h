/* Keccak-256 (the padding of Ethereum, not of SHA-3), https://keccak.team/keccak_specs_summary.html */
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#if __BYTE_ORDER__ != __ORDER_LITTLE_ENDIAN__
#error "lanes are read as they lie in memory"
#endif

#define RATE 136
#define HASH 28 /* bytes of the digest that the commitment keeps */
#define ROL(x, n) ((uint64_t)(x) << (n) | (uint64_t)(x) >> ((64 - (n)) & 63))

static const uint64_t ROUNDS[24] = {
    0x0000000000000001, 0x0000000000008082, 0x800000000000808a, 0x8000000080008000, 0x000000000000808b,
    0x0000000080000001, 0x8000000080008081, 0x8000000000008009, 0x000000000000008a, 0x0000000000000088,
    0x0000000080008009, 0x000000008000000a, 0x000000008000808b, 0x800000000000008b, 0x8000000000008089,
    0x8000000000008003, 0x8000000000008002, 0x8000000000000080, 0x000000000000800a, 0x800000008000000a,
    0x8000000080008081, 0x8000000000008080, 0x0000000080000001, 0x8000000080008008};

/* Rho, pi and chi for one row of the result; its lanes go into the parities of their columns. */
#define ROW(at, l0, l1, l2, l3, l4, r0, r1, r2, r3, r4) \
    b0 = ROL(l0, r0), b1 = ROL(l1, r1), b2 = ROL(l2, r2), b3 = ROL(l3, r3), b4 = ROL(l4, r4); \
    C[0] ^= E[at] = b0 ^ (~b1 & b2), C[1] ^= E[at + 1] = b1 ^ (~b2 & b3), C[2] ^= E[at + 2] = b2 ^ (~b3 & b4); \
    C[3] ^= E[at + 3] = b3 ^ (~b4 & b0), C[4] ^= E[at + 4] = b4 ^ (~b0 & b1)

/* One round; C holds the parities of the columns of A, and then those of E. */
static inline __attribute__((always_inline)) void round_of(const uint64_t *A, uint64_t *E, uint64_t *C, uint64_t iota) {
    uint64_t b0, b1, b2, b3, b4;
    uint64_t d0 = C[4] ^ ROL(C[1], 1), d1 = C[0] ^ ROL(C[2], 1), d2 = C[1] ^ ROL(C[3], 1), d3 = C[2] ^ ROL(C[4], 1);
    uint64_t d4 = C[3] ^ ROL(C[0], 1);
    C[0] = iota, C[1] = C[2] = C[3] = C[4] = 0;
    ROW(0, A[0] ^ d0, A[6] ^ d1, A[12] ^ d2, A[18] ^ d3, A[24] ^ d4, 0, 44, 43, 21, 14);
    ROW(5, A[3] ^ d3, A[9] ^ d4, A[10] ^ d0, A[16] ^ d1, A[22] ^ d2, 28, 20, 3, 45, 61);
    ROW(10, A[1] ^ d1, A[7] ^ d2, A[13] ^ d3, A[19] ^ d4, A[20] ^ d0, 1, 6, 25, 8, 18);
    ROW(15, A[4] ^ d4, A[5] ^ d0, A[11] ^ d1, A[17] ^ d2, A[23] ^ d3, 27, 36, 10, 15, 56);
    ROW(20, A[2] ^ d2, A[8] ^ d3, A[14] ^ d4, A[15] ^ d0, A[21] ^ d1, 62, 55, 39, 41, 2);
    E[0] ^= iota;
}

static inline __attribute__((always_inline)) void absorb_block(uint64_t *state, const uint8_t *block) {
    uint64_t other[25], C[5];
    memcpy(other, block, RATE);
    for (int lane = 0; lane < RATE / 8; lane++)
        state[lane] ^= other[lane];
    for (int x = 0; x < 5; x++)
        C[x] = state[x] ^ state[x + 5] ^ state[x + 10] ^ state[x + 15] ^ state[x + 20];
    for (int i = 0; i < 24; i += 2) {
        round_of(state, other, C, ROUNDS[i]);
        round_of(other, state, C, ROUNDS[i + 1]);
    }
}

static void absorb_anywhere(uint64_t *state, const uint8_t *block) { absorb_block(state, block); }

static void (*absorb)(uint64_t *state, const uint8_t *block) = absorb_anywhere;

#ifdef __x86_64__
/* "And not", and a rotation into another register, each in one instruction: nearly a fifth faster. */
static __attribute__((target("bmi,bmi2"))) void absorb_with_bmi(uint64_t *state, const uint8_t *block) {
    absorb_block(state, block);
}
#endif

/* Take the fastest that this machine has. */
static void choose_absorb(void) {
#ifdef __x86_64__
    if (__builtin_cpu_supports("bmi") && __builtin_cpu_supports("bmi2"))
        absorb = absorb_with_bmi;
#endif
}

/* digest = the first HASH bytes of keccak256(digest || data) */
static void advance(uint8_t *digest, const uint8_t *data, size_t size) {
    uint64_t state[25] = {0};
    uint8_t block[RATE];
    size_t filled = HASH;
    memcpy(block, digest, HASH);
    while (size >= RATE - filled) {
        size_t part = RATE - filled;
        memcpy(block + filled, data, part);
        absorb(state, block);
        data += part, size -= part, filled = 0;
    }
    memcpy(block + filled, data, size);
    memset(block + filled + size, 0, RATE - filled - size);
    block[filled + size] = 1;
    block[RATE - 1] |= 0x80;
    absorb(state, block);
    memcpy(digest, state, HASH);
}
