/* The loops of a backfill that touch every byte: reading logs out of an answer, checking them, taking them in.
 *
 * Optional: without it, Python does the same. What is here knows the usual and nothing else; at whatever it does not
 * know it leaves the decision, and the words for what is wrong, to its twin: `read_logs` to answer.read, `Logs.check` to
 * Ledger.check, `Logs.fold` to folding.fold, `chain` to commitment.chain_in_python. What takes long and needs nothing of
 * Python, reading and hashing, lets other threads go on.
 */
#define PY_SSIZE_T_CLEAN
#include <Python.h>
#include <stdint.h>
#include <string.h>

#include "_keccak.h"

/* Whether a payload's data begins with the next version, as a word. */
static int is_next(uint64_t version, const uint8_t *payload, Py_ssize_t size, Py_ssize_t start) {
    uint8_t word[32] = {0};
    for (int j = 0; j < 8; j++)
        word[31 - j] = (uint8_t)((version + 1) >> 8 * j);
    return start >= 0 && start <= size - 32 && memcmp(payload + start, word, 32) == 0;
}

/* chain(version, digest, payloads, starts) -> (version, digest): as `chain_in_python`. */
static PyObject *chain(PyObject *module, PyObject *args) {
    unsigned long long version;
    Py_buffer before;
    PyObject *payloads, *starts;
    uint8_t digest[HASH];
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
        if (!is_next(version, (const uint8_t *)data, size, start))
            break;
        version++;
        advance(digest, (const uint8_t *)data, (size_t)size);
    }
    return Py_BuildValue("Ky#", version, (const char *)digest, (Py_ssize_t)HASH);
}

/* Reading. Functions return 0 at what is not known. */

typedef struct { const char *text; uint8_t bytes[32]; } Memo; /* a member, as it was read last */

typedef struct {
    const char *at, *end;
    Memo address, hash, tx, topics[4];
} Text;

static inline int follows(Text *t, const char *word, size_t size) {
    if ((size_t)(t->end - t->at) < size || memcmp(t->at, word, size) != 0)
        return 0;
    t->at += size;
    return 1;
}

#define PASS(t, word) follows(t, word, sizeof(word) - 1)

/* A string. Who does not look at every character afterwards asks that it be plain. */
static int string(Text *t, const char **start, Py_ssize_t *size, int plain) {
    if (!PASS(t, "\""))
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

/* The value of a hexadecimal digit; of all else, more than 15. */
static inline uint8_t digit_of(uint8_t character) {
    uint8_t digit = (uint8_t)(character - '0'), letter = (uint8_t)((character | 0x20) - 'a');
    return digit < 10 ? digit : letter < 6 ? (uint8_t)(letter + 10) : 0xff;
}

typedef uint8_t Bytes __attribute__((vector_size(16)));
typedef uint16_t Pairs __attribute__((vector_size(16)));
typedef uint8_t Half __attribute__((vector_size(8)));

/* The bytes that 2 * size digits are; 0 if one is none. Sixteen digits are read side by side. */
static int bytes_of(const char *hex, size_t size, uint8_t *out) {
    Bytes wrong = {0}, none = {0};
    uint8_t all = 0;
    for (size_t eights = size / 8; eights > 0; eights--, hex += 16, out += 8) {
        Bytes text;
        memcpy(&text, hex, 16);
        Bytes digit = text - '0', letter = (text | 0x20) - 'a';
        Bytes is_digit = (Bytes)(digit < 10), is_letter = (Bytes)(letter < 6);
        wrong |= ~(is_digit | is_letter);
        Pairs pairs = (Pairs)((digit & is_digit) | ((letter + 10) & is_letter));
        Half half = __builtin_convertvector((pairs << 4 | pairs >> 8) & 0xff, Half);
        memcpy(out, &half, 8);
    }
    for (size_t ones = size % 8; ones > 0; ones--, hex += 2) {
        uint8_t high = digit_of((uint8_t)hex[0]), low = digit_of((uint8_t)hex[1]);
        all |= high | low;
        *out++ = (uint8_t)(high << 4 | low);
    }
    return all < 16 && memcmp(&wrong, &none, sizeof wrong) == 0;
}

/* Whether two texts of at least sixteen characters are the same. */
static inline int alike(const char *one, const char *other, size_t size) {
    Bytes differences = {0}, none = {0}, left, right;
    for (size_t at = 0; at < size; at += 16) {
        size_t from = at + 16 <= size ? at : size - 16;
        memcpy(&left, one + from, 16), memcpy(&right, other + from, 16);
        differences |= left ^ right;
    }
    return memcmp(&differences, &none, sizeof none) == 0;
}

/* So many bytes. Most often the log before said the same. */
static inline int fixed(Text *t, Memo *memo, size_t size, uint8_t *out) {
    const char *text = t->at;
    size_t length = 2 * size + 4;
    if ((size_t)(t->end - text) < length)
        return 0;
    if (memo->text == NULL || !alike(memo->text, text, length)) {
        if (memcmp(text, "\"0x", 3) != 0 || text[length - 1] != '"' || !bytes_of(text + 3, size, memo->bytes))
            return 0;
        memo->text = text;
    }
    memcpy(out, memo->bytes, size);
    t->at += length;
    return 1;
}

static int quantity(Text *t, long long *value) {
    int digits = 0;
    *value = 0;
    if (!PASS(t, "\"0x"))
        return 0;
    for (; t->at < t->end && *t->at != '"' && digits < 15; digits++) {
        uint8_t digit = digit_of((uint8_t)*t->at++);
        if (digit > 15)
            return 0;
        *value = *value << 4 | digit;
    }
    return digits > 0 && PASS(t, "\"");
}

typedef struct {
    uint8_t address[20], hash[32], tx[32];
    int topics;
    long long block, index;
    Py_ssize_t start, size; /* of the payload, among those of all logs */
} Log;

typedef struct {
    PyObject_HEAD
    PyObject *make;
    Py_ssize_t count, room;
    Log *logs;
    uint8_t *payloads;
} Logs;

enum { ADDRESS, TOPICS, DATA, BLOCK_HASH, BLOCK, TIMESTAMP, TX, TX_INDEX, INDEX, REMOVED, OTHER, NONE };

enum { NEEDED = 1 << ADDRESS | 1 << TOPICS | 1 << DATA | 1 << BLOCK_HASH | 1 << BLOCK | 1 << TX | 1 << INDEX };

#define NAME(is, text) \
    case is: \
        if (PASS(t, "\"" text "\":")) \
            return is; \
        __attribute__((fallthrough));

/* The name of a member, and the colon. The one that is expected is looked for first, then those that often follow. */
static int name_of(Text *t, int expected) {
    const char *text;
    Py_ssize_t size;
    for (int again = 0; again < 2; again++, expected = ADDRESS)
        switch (expected) {
            NAME(ADDRESS, "address")
            NAME(TOPICS, "topics")
            NAME(DATA, "data")
            NAME(BLOCK_HASH, "blockHash")
            NAME(BLOCK, "blockNumber")
            NAME(TIMESTAMP, "blockTimestamp")
            NAME(TX, "transactionHash")
            NAME(TX_INDEX, "transactionIndex")
            NAME(INDEX, "logIndex")
            NAME(REMOVED, "removed")
        default: break;
        }
    return string(t, &text, &size, 1) && PASS(t, ":") ? OTHER : NONE;
}

typedef struct { const char *digits; Py_ssize_t count; } Data;

static int data_of(Text *t, Data *data) {
    if (!string(t, &data->digits, &data->count, 0) || data->count < 2 || memcmp(data->digits, "0x", 2) != 0)
        return 0;
    data->digits += 2, data->count -= 2;
    return data->count % 2 == 0;
}

static int topics(Text *t, Log *log, uint8_t *out) {
    log->topics = 0;
    if (!PASS(t, "["))
        return 0;
    do {
        if (log->topics == 4 || !fixed(t, &t->topics[log->topics], 32, out + 32 * log->topics))
            return 0;
        log->topics++;
    } while (PASS(t, ","));
    return PASS(t, "]");
}

static int value_of(Text *t, int name, Log *log, Data *data, uint8_t *out) {
    const char *text;
    Py_ssize_t size;
    switch (name) {
    case ADDRESS: return fixed(t, &t->address, 20, log->address);
    case TOPICS: return topics(t, log, out);
    case DATA: return data_of(t, data);
    case BLOCK_HASH: return fixed(t, &t->hash, 32, log->hash);
    case BLOCK: return quantity(t, &log->block);
    case TX: return fixed(t, &t->tx, 32, log->tx);
    case INDEX: return quantity(t, &log->index);
    case REMOVED: return PASS(t, "false") || PASS(t, "null");
    default: return string(t, &text, &size, 1) || PASS(t, "null"); /* what others need */
    }
}

/* A log; its payload is written at `out`, where there is room for half the text that is left. */
static int read_log(Text *t, Log *log, uint8_t *out) {
    int seen = 0, name = ADDRESS;
    Data data = {NULL, 0};
    if (!PASS(t, "{"))
        return 0;
    do {
        name = name_of(t, name);
        if (name == NONE || (NEEDED | 1 << REMOVED) & seen & 1 << name || !value_of(t, name, log, &data, out))
            return 0;
        seen |= 1 << name++;
    } while (PASS(t, ","));
    if (!PASS(t, "}") || (seen & NEEDED) != NEEDED)
        return 0;
    log->size = 32 * log->topics + data.count / 2;
    return bytes_of(data.digits, (size_t)data.count / 2, out + 32 * log->topics);
}

/* The array of logs: 1 if it was read, 0 if there is something that is not known, -1 without memory. */
static int read_array(Text *t, Logs *found) {
    Py_ssize_t filled = 0;
    if (!PASS(t, "["))
        return 0;
    do {
        if (found->count == found->room) {
            Py_ssize_t room = found->room ? 2 * found->room : 16;
            Log *grown = PyMem_RawRealloc(found->logs, (size_t)room * sizeof(Log));
            if (grown == NULL)
                return -1;
            found->logs = grown, found->room = room;
        }
        Log *log = &found->logs[found->count];
        if (!read_log(t, log, found->payloads + filled))
            return 0;
        log->start = filled, filled += log->size, found->count++;
    } while (PASS(t, ","));
    return PASS(t, "]");
}

/* Logs: what was read, as a sequence of what `make` makes of each. */

static PyTypeObject LogsType;

static void logs_dealloc(Logs *self) {
    PyMem_RawFree(self->logs);
    PyMem_RawFree(self->payloads);
    Py_DECREF(self->make);
    Py_TYPE(self)->tp_free((PyObject *)self);
}

static Py_ssize_t logs_length(Logs *self) { return self->count; }

static PyObject *bytes_from(const uint8_t *data, Py_ssize_t size) {
    return PyBytes_FromStringAndSize((const char *)data, size);
}

static PyObject *logs_item(Logs *self, Py_ssize_t at) {
    if (at < 0 || at >= self->count)
        return PyErr_Format(PyExc_IndexError, "there are %zd logs", self->count);
    const Log *log = &self->logs[at];
    return PyObject_CallFunction(self->make, "NiNLLNN", bytes_from(log->address, 20), log->topics,
                                 bytes_from(self->payloads + log->start, log->size), log->block, log->index,
                                 bytes_from(log->hash, 32), bytes_from(log->tx, 32));
}

static PyObject *logs_subscript(Logs *self, PyObject *key) {
    if (PyIndex_Check(key)) {
        Py_ssize_t at = PyNumber_AsSsize_t(key, PyExc_IndexError);
        return at == -1 && PyErr_Occurred() ? NULL : PySequence_GetItem((PyObject *)self, at);
    }
    PyObject *all = PySequence_Tuple((PyObject *)self), *part = all == NULL ? NULL : PyObject_GetItem(all, key);
    Py_XDECREF(all);
    return part;
}

/* read_logs(answer, start, make) -> (Logs, end) or None: what the JSON array at a start holds, and where it ends. */
static PyObject *read_logs(PyObject *module, PyObject *args) {
    PyObject *body, *make;
    Py_ssize_t start;
    int done = 0;
    if (!PyArg_ParseTuple(args, "SnO", &body, &start, &make))
        return NULL;
    const char *text = PyBytes_AS_STRING(body);
    Py_ssize_t size = PyBytes_GET_SIZE(body);
    if (start < 0 || start > size)
        Py_RETURN_NONE;
    Text t = {.at = text + start, .end = text + size};
    Logs *found = PyObject_New(Logs, &LogsType);
    if (found == NULL)
        return NULL;
    found->make = Py_NewRef(make), found->count = found->room = 0, found->logs = NULL;
    found->payloads = PyMem_RawMalloc((size_t)(size - start) / 2 + 1);
    if (found->payloads == NULL)
        done = -1;
    else {
        Py_BEGIN_ALLOW_THREADS
        done = read_array(&t, found);
        Py_END_ALLOW_THREADS
    }
    if (done == 1) {
        Py_ssize_t used = found->logs[found->count - 1].start + found->logs[found->count - 1].size;
        uint8_t *fitting = PyMem_RawRealloc(found->payloads, (size_t)used);
        if (fitting != NULL)
            found->payloads = fitting;
        return Py_BuildValue("Nn", found, t.at - text);
    }
    Py_DECREF(found);
    return done == 0 ? Py_NewRef(Py_None) : PyErr_NoMemory();
}

/* check(contracts, verdict, first, last, version, digest) -> (version, digest): whether the logs are in order, in these
 * blocks and of these contracts, of which the first is the registry and the others say verdicts and nothing else, and the
 * log commitment after them; None if not. */
static PyObject *logs_check(Logs *self, PyObject *args) {
    Py_buffer contracts, verdict, before;
    long long first, last, index = -1;
    unsigned long long version;
    uint8_t digest[HASH];
    if (!PyArg_ParseTuple(args, "y*y*LLKy*", &contracts, &verdict, &first, &last, &version, &before))
        return NULL;
    int good = before.len == HASH && verdict.len == 32 && contracts.len % 20 == 0;
    if (good)
        memcpy(digest, before.buf, HASH);
    Py_BEGIN_ALLOW_THREADS
    for (Py_ssize_t i = 0; good && i < self->count; i++) {
        const Log *log = &self->logs[i];
        const uint8_t *payload = self->payloads + log->start;
        if (log->block != first || log->index <= index)
            good = first < log->block && log->block <= last;
        first = log->block, index = log->index;
        Py_ssize_t of = 0;
        while (of < contracts.len && memcmp((uint8_t *)contracts.buf + of, log->address, 20) != 0)
            of += 20;
        good = good && of < contracts.len;
        if (good && of > 0)
            good = log->topics > 0 && memcmp(payload, verdict.buf, 32) == 0;
        if (good && of == 0) {
            good = is_next(version, payload, log->size, 32 * log->topics);
            version++;
            advance(digest, payload, (size_t)log->size);
        }
    }
    Py_END_ALLOW_THREADS
    PyBuffer_Release(&contracts);
    PyBuffer_Release(&verdict);
    PyBuffer_Release(&before);
    if (!good)
        Py_RETURN_NONE;
    return Py_BuildValue("Ky#", version, (const char *)digest, (Py_ssize_t)HASH);
}

static uint32_t number(const uint8_t *word) {
    return (uint32_t)word[28] << 24 | (uint32_t)word[29] << 16 | (uint32_t)word[30] << 8 | word[31];
}

/* Objects that are often the same as the one before are one object. */
typedef struct { PyObject *object; long long value; } Number;

static PyObject *same_number(Number *last, long long value) {
    if (last->object == NULL || last->value != value) {
        Py_XSETREF(last->object, PyLong_FromLongLong(value));
        last->value = value;
    }
    return last->object;
}

/* The positions in a block are the same in all blocks. */
static PyObject *position(long long index) {
    static PyObject *known[1024];
    if (index < 0 || index >= 1024)
        return PyLong_FromLongLong(index);
    if (known[index] == NULL)
        known[index] = PyLong_FromLongLong(index);
    return Py_XNewRef(known[index]);
}

static PyObject *same_bytes(PyObject **last, const uint8_t *found, Py_ssize_t size) {
    if (*last == NULL || memcmp(PyBytes_AS_STRING(*last), found, (size_t)size) != 0)
        Py_XSETREF(*last, bytes_from(found, size));
    return *last;
}

typedef struct {
    PyObject *stage, *changed, *below, *lists, *origin, *listing; /* borrowed */
    PyObject *tx, *key, *named;
    Number block, expires;
} Fold;

/* Whether a layer below the stage says anything of the node: 1, 0, or -1 with an exception. */
static int is_below(const Fold *fold, PyObject *node) {
    int known = 0;
    for (Py_ssize_t i = 0; known == 0 && i < PyList_GET_SIZE(fold->below); i++)
        known = PyDict_Contains(PyList_GET_ITEM(fold->below, i), node);
    return known;
}

/* The list that the topics of an addition name, if one before it named the same: 1, 0, or -1 with an exception. */
static int find_list(Fold *fold, const uint8_t *topics) {
    if (fold->key == NULL || memcmp(PyBytes_AS_STRING(fold->key), topics, 96) != 0) {
        Py_XSETREF(fold->key, bytes_from(topics, 96));
        if (fold->key == NULL)
            return -1;
        Py_XSETREF(fold->named, Py_XNewRef(PyDict_GetItemWithError(fold->lists, fold->key)));
        if (fold->named != NULL && !(PyTuple_Check(fold->named) && PyTuple_GET_SIZE(fold->named) == 2)) {
            PyErr_SetString(PyExc_TypeError, "expected a provider and a kind");
            return -1;
        }
    }
    return fold->named != NULL ? 1 : PyErr_Occurred() ? -1 : 0;
}

/* Put a node into the stage: 1 if done, 0 if it is not the plain addition of one new node, -1 with an exception. */
static int add_node(Fold *fold, const Log *log, const uint8_t *payload) {
    static const uint8_t zeros[28], one[64] = {[31] = 96, [63] = 1}; /* offset and length of an array of one */
    if (log->topics != 3 || log->size != 256 || memcmp(payload + 160, one, 64) != 0 ||
        memcmp(payload + 96, zeros, 28) != 0 || memcmp(payload + 128, zeros, 28) != 0)
        return 0;
    int done = find_list(fold, payload);
    if (done != 1)
        return done;
    PyObject *node = bytes_from(payload + 236, 20), *id = NULL, *index = NULL, *origin = NULL, *listing = NULL;
    int known = node == NULL ? -1 : is_below(fold, node);
    if (known == 0) {
        id = bytes_from(payload + 224, 32), index = position(log->index);
        PyObject *block = same_number(&fold->block, log->block), *tx = same_bytes(&fold->tx, log->tx, 32);
        PyObject *expires = same_number(&fold->expires, number(payload + 128));
        /* Whom the trusted set asks for, it asks by this id: hashed now, it need not be when all are gone through. */
        if (id != NULL && PyObject_Hash(id) != -1 && index != NULL && block != NULL && tx != NULL && expires != NULL) {
            PyObject *said[] = {PyTuple_GET_ITEM(fold->named, 0), PyTuple_GET_ITEM(fold->named, 1), block, index, tx};
            origin = PyObject_Vectorcall(fold->origin, said, 5, NULL);
        }
        if (origin != NULL) {
            PyObject *listed[] = {id, expires, origin};
            listing = PyObject_Vectorcall(fold->listing, listed, 3, NULL);
        }
        PyObject *there = listing == NULL ? NULL : PyDict_SetDefault(fold->stage, node, listing);
        known = there == NULL ? -1 : there != listing;
        if (known == 0)
            known = PyDict_SetItem(fold->changed, node, listing);
    }
    Py_XDECREF(node), Py_XDECREF(id), Py_XDECREF(index), Py_XDECREF(origin), Py_XDECREF(listing);
    return known < 0 ? -1 : !known;
}

/* fold(at, stage, changed, below, lists, origin, listing) -> at: take in additions of one node, up to a log that is
 * something else, or of a node that one of the layers knows. */
static PyObject *logs_fold(Logs *self, PyObject *args) {
    Py_ssize_t at;
    Fold fold = {0};
    int done = 1;
    if (!PyArg_ParseTuple(args, "nO!O!O!O!OO", &at, &PyDict_Type, &fold.stage, &PyDict_Type, &fold.changed, &PyList_Type,
                          &fold.below, &PyDict_Type, &fold.lists, &fold.origin, &fold.listing))
        return NULL;
    if (at < 0)
        return PyErr_Format(PyExc_IndexError, "there is no log %zd", at);
    for (Py_ssize_t i = 0; i < PyList_GET_SIZE(fold.below); i++)
        if (!PyDict_Check(PyList_GET_ITEM(fold.below, i)))
            return PyErr_Format(PyExc_TypeError, "expected dictionaries");
    while (at < self->count && done == 1) {
        done = add_node(&fold, &self->logs[at], self->payloads + self->logs[at].start);
        at += done == 1;
    }
    Py_XDECREF(fold.tx), Py_XDECREF(fold.key), Py_XDECREF(fold.named);
    Py_XDECREF(fold.block.object), Py_XDECREF(fold.expires.object);
    return done < 0 ? NULL : PyLong_FromSsize_t(at);
}

static PySequenceMethods LOGS_SEQUENCE = {.sq_length = (lenfunc)logs_length, .sq_item = (ssizeargfunc)logs_item};

static PyMappingMethods LOGS_MAPPING = {.mp_length = (lenfunc)logs_length, .mp_subscript = (binaryfunc)logs_subscript};

static PyMethodDef LOGS_METHODS[] = {{"check", (PyCFunction)logs_check, METH_VARARGS, NULL},
                                     {"fold", (PyCFunction)logs_fold, METH_VARARGS, NULL},
                                     {NULL, NULL, 0, NULL}};

static PyTypeObject LogsType = {PyVarObject_HEAD_INIT(NULL, 0).tp_name = "offchain.chain._native.Logs",
                                .tp_basicsize = sizeof(Logs),
                                .tp_dealloc = (destructor)logs_dealloc,
                                .tp_as_sequence = &LOGS_SEQUENCE,
                                .tp_as_mapping = &LOGS_MAPPING,
                                .tp_flags = Py_TPFLAGS_DEFAULT | Py_TPFLAGS_DISALLOW_INSTANTIATION,
                                .tp_methods = LOGS_METHODS};

static PyMethodDef METHODS[] = {{"chain", chain, METH_VARARGS, NULL},
                                {"read_logs", read_logs, METH_VARARGS, NULL},
                                {NULL, NULL, 0, NULL}};

static struct PyModuleDef MODULE = {PyModuleDef_HEAD_INIT, "_native", "The loops of a backfill, in C.", -1, METHODS};

PyMODINIT_FUNC PyInit__native(void) {
    if (PyType_Ready(&LogsType) < 0)
        return NULL;
    choose_absorb();
    PyObject *module = PyModule_Create(&MODULE);
    if (module != NULL && (PyModule_AddObjectRef(module, "Logs", (PyObject *)&LogsType) < 0 ||
                           PyModule_AddIntConstant(module, "REVISION", 3) < 0)) /* see native.py */
        Py_CLEAR(module);
    return module;
}
