/* The two loops of a backfill that touch every byte: reading logs out of an answer, and folding the log commitment.
 *
 * Optional: without it, answer.py and commitment.py do the same in Python. `read_logs` knows the JSON that endpoints
 * write and nothing else; at whatever it does not know it returns None, and the general reader decides.
 */
#define PY_SSIZE_T_CLEAN
#include <Python.h>
#include <stdint.h>
#include <string.h>

#if __BYTE_ORDER__ != __ORDER_LITTLE_ENDIAN__
#error "lanes are read as they lie in memory"
#endif

/* Keccak-256 (the padding of Ethereum, not of SHA-3), https://keccak.team/keccak_specs_summary.html */

#define RATE 136
#define HASH 28 /* bytes of the digest that the commitment keeps */
#define ROL(x, n) ((uint64_t)(x) << (n) | (uint64_t)(x) >> ((64 - (n)) & 63))

static const uint64_t ROUNDS[24] = {
    0x0000000000000001, 0x0000000000008082, 0x800000000000808a, 0x8000000080008000, 0x000000000000808b,
    0x0000000080000001, 0x8000000080008081, 0x8000000000008009, 0x000000000000008a, 0x0000000000000088,
    0x0000000080008009, 0x000000008000000a, 0x000000008000808b, 0x800000000000008b, 0x8000000000008089,
    0x8000000000008003, 0x8000000000008002, 0x8000000000000080, 0x000000000000800a, 0x800000008000000a,
    0x8000000080008081, 0x8000000000008080, 0x0000000080000001, 0x8000000080008008};

/* Rho, pi and chi for one row of the result. */
#define ROW(at, l0, l1, l2, l3, l4, r0, r1, r2, r3, r4) \
    b0 = ROL(l0, r0), b1 = ROL(l1, r1), b2 = ROL(l2, r2), b3 = ROL(l3, r3), b4 = ROL(l4, r4); \
    E[at] = b0 ^ (~b1 & b2), E[at + 1] = b1 ^ (~b2 & b3), E[at + 2] = b2 ^ (~b3 & b4); \
    E[at + 3] = b3 ^ (~b4 & b0), E[at + 4] = b4 ^ (~b0 & b1)

static inline __attribute__((always_inline)) void round_of(const uint64_t *A, uint64_t *E, uint64_t constant) {
    uint64_t b0, b1, b2, b3, b4;
    uint64_t c0 = A[0] ^ A[5] ^ A[10] ^ A[15] ^ A[20], c1 = A[1] ^ A[6] ^ A[11] ^ A[16] ^ A[21];
    uint64_t c2 = A[2] ^ A[7] ^ A[12] ^ A[17] ^ A[22], c3 = A[3] ^ A[8] ^ A[13] ^ A[18] ^ A[23];
    uint64_t c4 = A[4] ^ A[9] ^ A[14] ^ A[19] ^ A[24];
    uint64_t d0 = c4 ^ ROL(c1, 1), d1 = c0 ^ ROL(c2, 1), d2 = c1 ^ ROL(c3, 1), d3 = c2 ^ ROL(c4, 1);
    uint64_t d4 = c3 ^ ROL(c0, 1);
    ROW(0, A[0] ^ d0, A[6] ^ d1, A[12] ^ d2, A[18] ^ d3, A[24] ^ d4, 0, 44, 43, 21, 14);
    ROW(5, A[3] ^ d3, A[9] ^ d4, A[10] ^ d0, A[16] ^ d1, A[22] ^ d2, 28, 20, 3, 45, 61);
    ROW(10, A[1] ^ d1, A[7] ^ d2, A[13] ^ d3, A[19] ^ d4, A[20] ^ d0, 1, 6, 25, 8, 18);
    ROW(15, A[4] ^ d4, A[5] ^ d0, A[11] ^ d1, A[17] ^ d2, A[23] ^ d3, 27, 36, 10, 15, 56);
    ROW(20, A[2] ^ d2, A[8] ^ d3, A[14] ^ d4, A[15] ^ d0, A[21] ^ d1, 62, 55, 39, 41, 2);
    E[0] ^= constant;
}

#if defined(__x86_64__) && defined(__GLIBC__) && __GNUC__ >= 9 && !defined(__clang__)
__attribute__((target_clones("bmi", "default"))) /* has "and not" in one instruction: a seventh faster */
#endif
static void absorb(uint64_t *state, const uint8_t *block) {
    uint64_t other[25];
    memcpy(other, block, RATE);
    for (int lane = 0; lane < RATE / 8; lane++)
        state[lane] ^= other[lane];
    for (int i = 0; i < 24; i += 2) {
        round_of(state, other, ROUNDS[i]);
        round_of(other, state, ROUNDS[i + 1]);
    }
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

/* chain(version, digest, payloads, starts) -> (version, digest): as `chain_in_python`. */
static PyObject *chain(PyObject *module, PyObject *args) {
    unsigned long long version;
    Py_buffer before;
    PyObject *payloads, *starts;
    uint8_t digest[HASH], word[32] = {0};
    if (!PyArg_ParseTuple(args, "Ky*O!O!", &version, &before, &PyList_Type, &payloads, &PyList_Type, &starts))
        return NULL;
    int good = before.len == HASH && PyList_GET_SIZE(payloads) == PyList_GET_SIZE(starts);
    if (good)
        memcpy(digest, before.buf, HASH);
    PyBuffer_Release(&before);
    if (!good)
        return PyErr_Format(PyExc_ValueError, "expected a digest of 28 bytes, and a start for each payload");
    for (Py_ssize_t i = 0; i < PyList_GET_SIZE(payloads); i++) {
        char *data;
        Py_ssize_t size, start = PyLong_AsSsize_t(PyList_GET_ITEM(starts, i));
        if (PyBytes_AsStringAndSize(PyList_GET_ITEM(payloads, i), &data, &size) < 0 || PyErr_Occurred())
            return NULL;
        for (int j = 0; j < 8; j++)
            word[31 - j] = (uint8_t)((version + 1) >> 8 * j);
        if (start < 0 || start > size - 32 || memcmp(data + start, word, 32) != 0)
            break;
        version++;
        advance(digest, (const uint8_t *)data, (size_t)size);
    }
    return Py_BuildValue("Ky#", version, (const char *)digest, (Py_ssize_t)HASH);
}

/* Reading. Functions return 0 at what is not known. */

typedef struct { const char *at, *end; } Text;

static uint8_t DIGITS[256]; /* the value of a hexadecimal digit; of all else 0xff */

static int pass(Text *t, const char *word) {
    size_t size = strlen(word);
    if ((size_t)(t->end - t->at) < size || memcmp(t->at, word, size) != 0)
        return 0;
    t->at += size;
    return 1;
}

/* A string. Who does not look at every character afterwards asks that it be plain. */
static int string(Text *t, const char **start, Py_ssize_t *size, int plain) {
    if (!pass(t, "\""))
        return 0;
    const char *quote = memchr(t->at, '"', (size_t)(t->end - t->at));
    if (quote == NULL)
        return 0;
    for (const char *c = t->at; plain && c < quote; c++)
        if (*c < ' ' || *c > '~' || *c == '\\')
            return 0;
    *start = t->at, *size = quote - t->at;
    t->at = quote + 1;
    return 1;
}

static int bytes_of(const char *hex, Py_ssize_t size, uint8_t *out) {
    uint8_t all = 0;
    for (Py_ssize_t i = 0; i < size; i++) {
        uint8_t high = DIGITS[(uint8_t)hex[2 * i]], low = DIGITS[(uint8_t)hex[2 * i + 1]];
        all |= high | low;
        out[i] = (uint8_t)(high << 4 | low);
    }
    return all < 16;
}

static int hexadecimal(Text *t, const char **digits, Py_ssize_t *count) {
    if (!string(t, digits, count, 0) || *count < 2 || memcmp(*digits, "0x", 2) != 0)
        return 0;
    *digits += 2, *count -= 2;
    return 1;
}

static int fixed(Text *t, Py_ssize_t size, uint8_t *out) {
    const char *digits;
    Py_ssize_t count;
    return hexadecimal(t, &digits, &count) && count == 2 * size && bytes_of(digits, size, out);
}

static int quantity(Text *t, long long *value) {
    const char *digits;
    Py_ssize_t count;
    uint8_t all = 0;
    if (!hexadecimal(t, &digits, &count) || count < 1 || count > 15)
        return 0;
    *value = 0;
    for (Py_ssize_t i = 0; i < count; i++) {
        all |= DIGITS[(uint8_t)digits[i]];
        *value = *value << 4 | (DIGITS[(uint8_t)digits[i]] & 15);
    }
    return all < 16;
}

typedef struct {
    uint8_t address[20], hash[32], tx[32];
    const char *topics[4], *data;
    Py_ssize_t count, data_size;
    long long block, index;
} Log;

static int topics(Text *t, Log *log) {
    Py_ssize_t size;
    if (!pass(t, "["))
        return 0;
    do {
        if (log->count == 4 || !hexadecimal(t, &log->topics[log->count++], &size) || size != 64)
            return 0;
    } while (pass(t, ","));
    return pass(t, "]");
}

static const char *const KEYS[] = {"address",   "topics",          "data",     "blockNumber",
                                   "blockHash", "transactionHash", "logIndex", "removed"};

static int value_of(Text *t, int key, Log *log) {
    const char *text;
    Py_ssize_t size;
    switch (key) {
    case 0: return fixed(t, 20, log->address);
    case 1: return topics(t, log);
    case 2: return hexadecimal(t, &log->data, &log->data_size) && log->data_size % 2 == 0;
    case 3: return quantity(t, &log->block);
    case 4: return fixed(t, 32, log->hash);
    case 5: return fixed(t, 32, log->tx);
    case 6: return quantity(t, &log->index);
    case 7: return pass(t, "false") || pass(t, "null");
    default: return string(t, &text, &size, 1) || pass(t, "null"); /* what others need */
    }
}

static int read_log(Text *t, Log *log) {
    const char *name;
    Py_ssize_t size;
    int seen = 0, key;
    log->count = 0;
    if (!pass(t, "{"))
        return 0;
    do {
        if (!string(t, &name, &size, 1) || !pass(t, ":"))
            return 0;
        for (key = 0; key < 8; key++)
            if ((size_t)size == strlen(KEYS[key]) && memcmp(name, KEYS[key], (size_t)size) == 0)
                break;
        if ((key < 8 && seen >> key & 1) || !value_of(t, key, log))
            return 0;
        seen |= 1 << key;
    } while (pass(t, ","));
    return pass(t, "}") && (seen & 0x7f) == 0x7f;
}

/* Bytes that often follow each other unchanged are one object. */
static PyObject *same(PyObject **last, const uint8_t *found, Py_ssize_t size) {
    if (*last == NULL || memcmp(PyBytes_AS_STRING(*last), found, (size_t)size) != 0)
        Py_XSETREF(*last, PyBytes_FromStringAndSize((const char *)found, size));
    return *last;
}

/* Put a log into the list: 1 if done, 0 if its digits are none, -1 with an exception. */
static int append(PyObject *list, PyObject *make, Log *log, PyObject **last) {
    PyObject *payload = PyBytes_FromStringAndSize(NULL, 32 * log->count + log->data_size / 2);
    if (payload == NULL)
        return -1;
    uint8_t *out = (uint8_t *)PyBytes_AS_STRING(payload);
    int done = bytes_of(log->data, log->data_size / 2, out + 32 * log->count);
    for (Py_ssize_t i = 0; i < log->count; i++)
        done = done && bytes_of(log->topics[i], 32, out + 32 * i);
    if (done) {
        PyObject *a[7] = {same(&last[0], log->address, 20), PyLong_FromSsize_t(log->count), payload,
                          PyLong_FromLongLong(log->block), PyLong_FromLongLong(log->index),
                          same(&last[1], log->hash, 32), same(&last[2], log->tx, 32)};
        PyObject *made = a[0] && a[1] && a[3] && a[4] && a[5] && a[6] ? PyObject_Vectorcall(make, a, 7, NULL) : NULL;
        done = made == NULL || PyList_Append(list, made) < 0 ? -1 : 1;
        Py_XDECREF(made), Py_XDECREF(a[1]), Py_XDECREF(a[3]), Py_XDECREF(a[4]);
    }
    Py_DECREF(payload);
    return done;
}

/* read_logs(answer, start, make) -> (logs, end) or None: what the JSON array at a start holds, and where it ends. */
static PyObject *read_logs(PyObject *module, PyObject *args) {
    PyObject *body, *make, *last[3] = {NULL, NULL, NULL}, *found = NULL;
    Py_ssize_t start;
    Log log;
    if (!PyArg_ParseTuple(args, "SnO", &body, &start, &make))
        return NULL;
    const char *text = PyBytes_AS_STRING(body);
    Text t = {text + start, text + PyBytes_GET_SIZE(body)};
    PyObject *list = PyList_New(0);
    int done = list == NULL ? -1 : start >= 0 && t.at <= t.end && pass(&t, "[");
    while (done == 1) {
        done = read_log(&t, &log) ? append(list, make, &log, last) : 0;
        if (done == 1 && !pass(&t, ",")) {
            done = pass(&t, "]");
            break;
        }
    }
    if (done == 1)
        found = Py_BuildValue("Nn", PyList_AsTuple(list), t.at - text);
    Py_XDECREF(list), Py_XDECREF(last[0]), Py_XDECREF(last[1]), Py_XDECREF(last[2]);
    return done == 0 ? Py_NewRef(Py_None) : found;
}

static PyMethodDef METHODS[] = {{"chain", chain, METH_VARARGS, NULL},
                                {"read_logs", read_logs, METH_VARARGS, NULL},
                                {NULL, NULL, 0, NULL}};

static struct PyModuleDef MODULE = {PyModuleDef_HEAD_INIT, "_native", "The loops of a backfill, in C.", -1, METHODS};

PyMODINIT_FUNC PyInit__native(void) {
    memset(DIGITS, 0xff, sizeof DIGITS);
    for (int i = 0; i < 16; i++)
        DIGITS[(uint8_t)"0123456789abcdef"[i]] = DIGITS[(uint8_t)"0123456789ABCDEF"[i]] = (uint8_t)i;
    return PyModule_Create(&MODULE);
}
