/* The members of a large JSON object (RFC 8259 section 4), found without a branch at each quote and escape.
 *
 * A prompt of some hundred kilobytes has an escape every thirty bytes, and a reader that looks at one byte after the
 * other stumbles at each. Here a string is looked at in blocks of 64 bytes, as sets of places: quotes, backslashes,
 * what backslashes escape. Blocks are read with AVX2; on a processor without it there is no such module.
 *
 * It is never the one to say that a body is at fault: what it does not vouch for it leaves to msgspec, which tells
 * what is wrong and where. What it vouches for msgspec would have read in the same way.
 */
#define PY_SSIZE_T_CLEAN
#include <Python.h>
#include <immintrin.h>
#include <stdint.h>
#include <string.h>

#define BLOCK 64
#define DEPTH 64 /* containers in containers; deeper ones are left to msgspec */
#define AVX2 __attribute__((target("avx2")))

typedef const uint8_t *place; /* NULL where a function could not vouch for what it read */

typedef struct {
    place end;  /* behind the last byte */
    int ascii;  /* no byte above 127 was seen in a string, and elsewhere there can be none */
    place low;  /* where the second half of a surrogate pair stands that was looked at with the first */
} reading;

typedef struct {
    uint64_t quotes, backslashes, controls, above;
    uint64_t letters; /* what may stand behind a backslash, but for "u" */
    uint64_t unicode; /* "u" */
} sets;

AVX2 static inline uint64_t both(__m256i first, __m256i second) {
    return (uint32_t)_mm256_movemask_epi8(first) | (uint64_t)(uint32_t)_mm256_movemask_epi8(second) << 32;
}

AVX2 static inline uint64_t equal(__m256i first, __m256i second, char byte) {
    __m256i wanted = _mm256_set1_epi8(byte);
    return both(_mm256_cmpeq_epi8(first, wanted), _mm256_cmpeq_epi8(second, wanted));
}

/* The bytes of "\/bfnrt and the backslash, by two look-ups: each bit stands for one upper half of a byte. */
AVX2 static inline __m256i escapable(__m256i bytes) {
    const __m256i lower = _mm256_setr_epi8(0, 0, 1 | 4 | 8, 0, 8, 0, 4, 0, 0, 0, 0, 0, 2, 0, 4, 1,
                                           0, 0, 1 | 4 | 8, 0, 8, 0, 4, 0, 0, 0, 0, 0, 2, 0, 4, 1);
    const __m256i upper = _mm256_setr_epi8(0, 0, 1, 0, 0, 2, 4, 8, 0, 0, 0, 0, 0, 0, 0, 0,
                                           0, 0, 1, 0, 0, 2, 4, 8, 0, 0, 0, 0, 0, 0, 0, 0);
    const __m256i half = _mm256_set1_epi8(0x0f);
    __m256i found = _mm256_and_si256(
        _mm256_shuffle_epi8(lower, _mm256_and_si256(bytes, half)),
        _mm256_shuffle_epi8(upper, _mm256_and_si256(_mm256_srli_epi16(bytes, 4), half)));
    return _mm256_cmpeq_epi8(found, _mm256_setzero_si256()); /* inverted: all bits where it is none of them */
}

AVX2 static inline sets look(place at, uint64_t carry) {
    __m256i first = _mm256_loadu_si256((const __m256i *)at);
    __m256i second = _mm256_loadu_si256((const __m256i *)(at + 32));
    const __m256i space = _mm256_set1_epi8(0x20);
    sets found;
    found.quotes = equal(first, second, '"');
    found.backslashes = equal(first, second, '\\');
    found.controls = ~both(_mm256_cmpeq_epi8(_mm256_max_epu8(first, space), first),
                           _mm256_cmpeq_epi8(_mm256_max_epu8(second, space), second));
    found.above = both(first, second);
    found.letters = found.unicode = 0;
    if (found.backslashes | carry) {
        found.letters = ~both(escapable(first), escapable(second));
        found.unicode = equal(first, second, 'u');
    }
    return found;
}

/* The places behind an escaping backslash; carry: whether the first place is one, then whether the next block's is. */
static inline uint64_t escaped_by(uint64_t backslashes, uint64_t *carry) {
    uint64_t escaped = *carry;
    backslashes &= ~escaped;
    if (!(backslashes & backslashes << 1)) { /* none beside another */
        *carry = backslashes >> 63;
        return escaped | backslashes << 1;
    }
    *carry = 0;
    while (backslashes) {
        uint64_t one = backslashes & -backslashes;
        *carry = one >> 63;
        escaped |= one << 1;
        backslashes &= ~(one | one << 1);
    }
    return escaped;
}

/* The four hexadecimal digits from here, or -1. */
static int hexadecimal(place at, place end) {
    int value = 0;
    if (end - at < 4)
        return -1;
    for (place stop = at + 4; at < stop; at++) {
        int digit = *at, letter = digit | 0x20;
        if (digit >= '0' && digit <= '9')
            digit -= '0';
        else if (letter >= 'a' && letter <= 'f')
            digit = letter - 'a' + 10;
        else
            return -1;
        value = value << 4 | digit;
    }
    return value;
}

/* Whether the escape whose "u" is here is one, and no half of a surrogate pair alone (RFC 8259 section 7). */
static int is_unicode(place at, reading *read) {
    int value = hexadecimal(at + 1, read->end);
    if (value < 0)
        return 0;
    if (value < 0xd800 || value > 0xdfff)
        return 1;
    if (value > 0xdbff)
        return at == read->low;
    read->low = at + 6;
    if (read->end - at < 11 || at[5] != '\\' || at[6] != 'u')
        return 0;
    value = hexadecimal(at + 7, read->end);
    return value >= 0xdc00 && value <= 0xdfff;
}

/* Behind the string whose first byte, after the quote, is here. */
AVX2 static place string(place at, reading *read) {
    uint64_t carry = 0;
    uint8_t rest[BLOCK];
    for (;;) {
        place from = at;
        Py_ssize_t left = read->end - at;
        if (left < BLOCK) {
            if (left <= 0)
                return NULL;
            memset(rest, 0, BLOCK); /* of which none is allowed in a string: it ends before, or is not vouched for */
            memcpy(rest, at, left);
            from = rest;
        }
        sets found = look(from, carry);
        uint64_t escaped = 0, inside = ~0ULL, end = found.quotes;
        if (carry | found.backslashes) {
            escaped = escaped_by(found.backslashes, &carry);
            end &= ~escaped;
        }
        if (end)
            inside = (end & -end) - 1;
        if (found.controls & inside)
            return NULL;
        escaped &= inside;
        if (escaped & ~(found.letters | found.unicode))
            return NULL;
        for (uint64_t units = escaped & found.unicode; units; units &= units - 1)
            if (!is_unicode(at + __builtin_ctzll(units), read))
                return NULL;
        if (found.above & inside)
            read->ascii = 0;
        if (end)
            return at + __builtin_ctzll(end) + 1;
        at += BLOCK;
    }
}

static inline place spaces(place at, place end) {
    while (at < end && (*at == ' ' || *at == '\n' || *at == '\r' || *at == '\t'))
        at++;
    return at;
}

static inline place digits(place at, place end) {
    place from = at;
    while (at < end && *at >= '0' && *at <= '9')
        at++;
    return at == from ? NULL : at;
}

static place number(place at, place end) {
    if (at < end && *at == '-')
        at++;
    if (at < end && *at == '0')
        at++;
    else if (!(at = digits(at, end)))
        return NULL;
    if (at < end && *at == '.' && !(at = digits(at + 1, end)))
        return NULL;
    if (at < end && (*at | 0x20) == 'e') {
        at++;
        if (at < end && (*at == '+' || *at == '-'))
            at++;
        at = digits(at, end);
    }
    return at;
}

static inline place word(place at, place end, const char *wanted, Py_ssize_t size) {
    return end - at >= size && !memcmp(at, wanted, size) ? at + size : NULL;
}

/* Behind a value that is neither object nor array. */
static inline place scalar(place at, reading *read) {
    switch (*at) {
    case '"':
        return string(at + 1, read);
    case 't':
        return word(at, read->end, "true", 4);
    case 'f':
        return word(at, read->end, "false", 5);
    case 'n':
        return word(at, read->end, "null", 4);
    default:
        return number(at, read->end);
    }
}

/* From a member's name to behind the colon and the spaces after it, where its value is. */
static place name(place at, reading *read) {
    if (at >= read->end || *at != '"' || !(at = string(at + 1, read)))
        return NULL;
    at = spaces(at, read->end);
    return at < read->end && *at == ':' ? spaces(at + 1, read->end) : NULL;
}

/* Behind the value that is here. */
static place value(place at, reading *read) {
    place end = read->end;
    uint64_t objects = 0; /* a bit for each open container, the innermost lowest: whether it is an object */
    int depth = 0;
    for (;;) {
        if (at >= end)
            return NULL;
        if (*at == '{' || *at == '[') {
            int object = *at == '{';
            at = spaces(at + 1, end);
            if (at < end && *at == (object ? '}' : ']'))
                at++;
            else {
                if (++depth > DEPTH)
                    return NULL;
                objects = objects << 1 | object;
                if (object && !(at = name(at, read)))
                    return NULL;
                continue;
            }
        } else if (!(at = scalar(at, read)))
            return NULL;
        for (;;) { /* behind a value: what it is the last of ends here too */
            if (!depth)
                return at;
            at = spaces(at, end);
            if (at >= end)
                return NULL;
            if (*at == ',') {
                at = spaces(at + 1, end);
                if (objects & 1 && !(at = name(at, read)))
                    return NULL;
                break;
            }
            if (*at != (objects & 1 ? '}' : ']'))
                return NULL;
            at++;
            depth--;
            objects >>= 1;
        }
    }
}

/* Append (name, start, end) of the member whose name is here, and go behind it. */
static place member(place at, place begin, reading *read, PyObject *found) {
    int ascii = read->ascii;
    read->ascii = 1;
    place from = at + 1, start = name(at, read), end;
    if (!start || !read->ascii)
        return NULL;
    read->ascii = ascii;
    place quote = memchr(from, '"', start - from);
    if (memchr(from, '\\', quote - from) || !(end = value(start, read)))
        return NULL;
    PyObject *one = Py_BuildValue("(s#nn)", (const char *)from, (Py_ssize_t)(quote - from),
                                  (Py_ssize_t)(start - begin), (Py_ssize_t)(end - begin));
    if (!one)
        return NULL;
    int failed = PyList_Append(found, one);
    Py_DECREF(one);
    return failed ? NULL : end;
}

static int object(place at, reading *read, PyObject *found) {
    place begin = at;
    at = spaces(at, read->end);
    if (at >= read->end || *at != '{')
        return 0;
    at = spaces(at + 1, read->end);
    for (;;) {
        if (!(at = member(at, begin, read, found)))
            return 0;
        at = spaces(at, read->end);
        if (at >= read->end)
            return 0;
        if (*at == '}')
            break;
        if (*at != ',')
            return 0;
        at = spaces(at + 1, read->end);
    }
    return spaces(at + 1, read->end) == read->end;
}

static PyObject *members(PyObject *module, PyObject *body) {
    if (!PyBytes_Check(body)) {
        PyErr_Format(PyExc_TypeError, "expected bytes, got %s", Py_TYPE(body)->tp_name);
        return NULL;
    }
    place begin = (place)PyBytes_AS_STRING(body);
    reading read = {begin + PyBytes_GET_SIZE(body), 1, NULL};
    PyObject *found = PyList_New(0);
    if (!found)
        return NULL;
    int sound = object(begin, &read, found);
    if (PyErr_Occurred()) {
        Py_DECREF(found);
        return NULL;
    }
    if (!sound) {
        Py_DECREF(found);
        Py_RETURN_NONE;
    }
    return Py_BuildValue("(NN)", PyBool_FromLong(read.ascii), found);
}

static PyMethodDef functions[] = {
    {"members", members, METH_O,
     "members(body, /)\n--\n\n(whether it is ASCII, [(name, start, end), ...]) of an object, in bytes; None where it\n"
     "can't be vouched for: it is no JSON object, or is empty, deep, or has names beyond plain ASCII."},
    {NULL, NULL, 0, NULL},
};

static struct PyModuleDef definition = {
    PyModuleDef_HEAD_INIT, "members", "The members of a large JSON object.", 0, functions, NULL, NULL, NULL, NULL,
};

PyMODINIT_FUNC PyInit_members(void) {
    if (!__builtin_cpu_supports("avx2")) {
        PyErr_SetString(PyExc_ImportError, "this processor has no AVX2");
        return NULL;
    }
    return PyModule_Create(&definition);
}
