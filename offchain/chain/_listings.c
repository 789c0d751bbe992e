/* The loops that go through all listings: writing them down as columns, and sorting their nodes into lists.
 *
 * Optional: without it, the twins in listings.py do the same. Listings and their origins are told from other objects by
 * their classes, and read where those keep their slots.
 */
#define PY_SSIZE_T_CLEAN
#include <Python.h>
#include <string.h>
#include <structmember.h>

#define ID 32 /* bytes of a node id */

typedef struct {
    PyTypeObject *listing, *origin; /* borrowed */
    Py_ssize_t node_id, expires_at, from, provider, kind;
} Slots;

/* Where a class keeps an attribute; 0 with an exception if not in a slot. */
static int find_slot(PyTypeObject *class, const char *name, Py_ssize_t *offset) {
    PyObject *found = PyObject_GetAttrString((PyObject *)class, name);
    if (found == NULL)
        return 0;
    int good = Py_TYPE(found) == &PyMemberDescr_Type && ((PyMemberDescrObject *)found)->d_member->type == T_OBJECT_EX;
    if (good)
        *offset = ((PyMemberDescrObject *)found)->d_member->offset;
    else
        PyErr_Format(PyExc_TypeError, "%s has no slot for %s", class->tp_name, name);
    Py_DECREF(found);
    return good;
}

static int find_slots(Slots *slots) {
    return find_slot(slots->listing, "node_id", &slots->node_id) &&
           find_slot(slots->listing, "expires_at", &slots->expires_at) &&
           find_slot(slots->listing, "origin", &slots->from) &&
           find_slot(slots->origin, "provider", &slots->provider) && find_slot(slots->origin, "kind", &slots->kind);
}

typedef struct { PyObject *node_id, *expires_at, *origin, *provider, *kind; } Said; /* borrowed from a listing */

static PyObject *in_slot(PyObject *object, Py_ssize_t offset) { return *(PyObject **)((char *)object + offset); }

/* What a listing says; 0 with an exception if it is none. */
static int read_listing(const Slots *slots, PyObject *listing, Said *said) {
    PyObject *origin = Py_TYPE(listing) == slots->listing ? in_slot(listing, slots->from) : NULL;
    if (origin != NULL && Py_TYPE(origin) == slots->origin) {
        *said = (Said){in_slot(listing, slots->node_id), in_slot(listing, slots->expires_at), origin,
                       in_slot(origin, slots->provider), in_slot(origin, slots->kind)};
        if (said->node_id != NULL && PyBytes_CheckExact(said->node_id) && PyBytes_GET_SIZE(said->node_id) == ID &&
            said->expires_at != NULL && PyLong_CheckExact(said->expires_at) && said->provider != NULL &&
            PyLong_CheckExact(said->provider) && said->kind != NULL && PyLong_CheckExact(said->kind))
            return 1;
    }
    PyErr_SetString(PyExc_TypeError, "expected a listing");
    return 0;
}

/* Whether two integers are the same: 1, 0, or -1 with an exception. */
static int equal(PyObject *one, PyObject *other) {
    return one == other ? 1 : one == NULL || other == NULL ? 0 : PyObject_RichCompareBool(one, other, Py_EQ);
}

/* columns(listings, listing, origin) -> (nodes, counts, origins, ends): as `columns_in_python`. */
static PyObject *columns(PyObject *module, PyObject *args) {
    PyObject *listings, *key, *listing;
    Slots slots;
    Said said, before = {0};
    Py_ssize_t at = 0, count = 0, run = 0;
    if (!PyArg_ParseTuple(args, "O!O!O!", &PyDict_Type, &listings, &PyType_Type, &slots.listing, &PyType_Type,
                          &slots.origin) ||
        !find_slots(&slots))
        return NULL;
    PyObject *nodes = PyBytes_FromStringAndSize(NULL, ID * PyDict_GET_SIZE(listings)), *all = NULL;
    PyObject *counts = PyList_New(0), *origins = PyList_New(0), *ends = PyList_New(0);
    int good = nodes != NULL && counts != NULL && origins != NULL && ends != NULL;
    while (good && PyDict_Next(listings, &at, &key, &listing)) {
        if (listing == Py_None)
            continue;
        int alike = -1;
        if (read_listing(&slots, listing, &said))
            alike = said.origin == before.origin ? equal(said.expires_at, before.expires_at) : 0;
        run = alike == 1 ? run + 1 : 1;
        PyObject *number = alike < 0 ? NULL : PyLong_FromSsize_t(run);
        if (number != NULL && alike)
            good = PyList_SetItem(counts, PyList_GET_SIZE(counts) - 1, Py_NewRef(number)) == 0;
        else
            good = number != NULL && PyList_Append(counts, number) == 0 && PyList_Append(origins, said.origin) == 0 &&
                   PyList_Append(ends, said.expires_at) == 0;
        Py_XDECREF(number);
        if (good)
            memcpy(PyBytes_AS_STRING(nodes) + ID * count++, PyBytes_AS_STRING(said.node_id), ID);
        before = said;
    }
    if (good && _PyBytes_Resize(&nodes, ID * count) == 0)
        all = PyTuple_Pack(4, nodes, counts, origins, ends);
    Py_XDECREF(nodes), Py_XDECREF(counts), Py_XDECREF(origins), Py_XDECREF(ends);
    return all;
}

/* The list that was asked for last, what follows from the expiry looked at last, and the first end of all. All owned. */
typedef struct { PyObject *provider, *kind, *answer, *expires_at, *until, *first; } Last;

static void forget_list(Last *last) {
    Py_CLEAR(last->provider);
    Py_CLEAR(last->kind);
    Py_CLEAR(last->answer);
    Py_CLEAR(last->expires_at);
    Py_CLEAR(last->until);
}

/* Ask which dictionary a listing belongs into, unless it is that of the one before. 0 with an exception. */
static int find_list(Last *last, const Said *said, PyObject *list_of) {
    int alike = equal(said->provider, last->provider);
    if (alike == 1)
        alike = equal(said->kind, last->kind);
    if (alike != 0)
        return alike == 1;
    forget_list(last);
    last->provider = Py_NewRef(said->provider), last->kind = Py_NewRef(said->kind);
    last->answer = PyObject_CallFunctionObjArgs(list_of, last->provider, last->kind, NULL);
    if (last->answer == NULL)
        return 0;
    if (last->answer == Py_None || (PyTuple_CheckExact(last->answer) && PyTuple_GET_SIZE(last->answer) == 2 &&
                                    PyDict_CheckExact(PyTuple_GET_ITEM(last->answer, 0))))
        return 1;
    PyErr_SetString(PyExc_TypeError, "expected a dictionary and a time");
    return 0;
}

/* Until when a listing counts, the sooner of its own end and its provider's; NULL if it has ended. 0 with an exception. */
static int find_until(Last *last, const Said *said, PyObject *now) {
    PyObject *accepted = PyTuple_GET_ITEM(last->answer, 1);
    Py_XSETREF(last->expires_at, Py_NewRef(said->expires_at));
    Py_CLEAR(last->until);
    int lasts = PyObject_RichCompareBool(now, last->expires_at, Py_LT);
    int sooner = lasts == 1 ? PyObject_RichCompareBool(accepted, last->expires_at, Py_LT) : lasts;
    if (lasts != 1 || sooner < 0)
        return lasts == 0;
    last->until = Py_NewRef(sooner ? accepted : last->expires_at);
    int first = PyObject_RichCompareBool(last->until, last->first, Py_LT);
    if (first == 1)
        Py_SETREF(last->first, Py_NewRef(last->until));
    return first >= 0;
}

/* gather(listings, apart, now, list_of, listing, origin) -> until: as `gather_in_python`. */
static PyObject *gather(PyObject *module, PyObject *args) {
    PyObject *listings, *apart, *now, *list_of, *key, *listing;
    Slots slots;
    Said said;
    Last last = {0};
    Py_ssize_t at = 0;
    if (!PyArg_ParseTuple(args, "O!O!O!OO!O!", &PyDict_Type, &listings, &PySet_Type, &apart, &PyLong_Type, &now, &list_of,
                          &PyType_Type, &slots.listing, &PyType_Type, &slots.origin) ||
        !find_slots(&slots))
        return NULL;
    last.first = PyFloat_FromDouble(Py_HUGE_VAL);
    int good = last.first != NULL;
    while (good && PyDict_Next(listings, &at, &key, &listing)) {
        int skipped = PySet_GET_SIZE(apart) ? PySet_Contains(apart, key) : 0;
        if (skipped == 1)
            continue;
        Py_INCREF(listing); /* whoever is asked for a list may do anything */
        good = skipped == 0 && read_listing(&slots, listing, &said) && find_list(&last, &said, list_of);
        if (good && last.answer != Py_None) {
            if (said.expires_at != last.expires_at)
                good = find_until(&last, &said, now);
            if (good && last.until != NULL)
                good = PyDict_SetItem(PyTuple_GET_ITEM(last.answer, 0), said.node_id, last.until) == 0;
        }
        Py_DECREF(listing);
    }
    forget_list(&last);
    if (!good)
        Py_CLEAR(last.first);
    return last.first;
}

static PyMethodDef METHODS[] = {{"columns", columns, METH_VARARGS, NULL},
                                {"gather", gather, METH_VARARGS, NULL},
                                {NULL, NULL, 0, NULL}};

static struct PyModuleDef MODULE = {PyModuleDef_HEAD_INIT, "_listings", "The loops over all listings, in C.", -1, METHODS};

PyMODINIT_FUNC PyInit__listings(void) {
    PyObject *module = PyModule_Create(&MODULE);
    if (module != NULL && PyModule_AddIntConstant(module, "REVISION", 1) < 0) /* see native.py */
        Py_CLEAR(module);
    return module;
}
