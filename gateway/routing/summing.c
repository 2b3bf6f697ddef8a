/* What a panel says of a prompt (panel.py), from its bytes to a probability of each of its names, in one call.
 *
 * NumPy takes two dozen calls for it (features.py, products.py), each of half a microsecond before it begins. The rows
 * of a prompt's features are fetched as soon as their numbers are known: the table is larger than a processor's caches,
 * and to wait for one row after the other would take longer than all the rest.
 *
 * Rows are of whole numbers, raised by 128, and are added up in lanes of 16 bits: one holds the sum of 257 of them.
 */
#define PY_SSIZE_T_CLEAN
#include <Python.h>
#include <math.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

/* As in features.py. */
#define WORDS 65536
#define SHIFT 16
#define STEPS 16  /* rows of one structural count */
#define COUNTS 21 /* structural counts; the last two are of words and of characters */
#define LONGEST 12289
#define SIZES 4097
#define ROWS (WORDS + STEPS * COUNTS)
#define BASE 0x9E3779B1u
#define INVERSE 0x0E8B2F51u /* BASE * INVERSE is 1 modulo 2^32 */
#define ODD 0x85EBCA77u
#define PAIR 0xC2B2AE3Du
/* As in arithmetic.py and model.py. */
#define EDGE 0.02
#define STEEPEST 60.0
#define FOREIGN 0.05
#define COARSER 4

#define RAISED 128
#define MOST 257  /* rows that lanes of 16 bits hold the sum of */
#define WIDTH 32  /* bytes of a row that are added up at a time */
#define GROUP 12  /* columns of the blend that are added up at a time */
#define PARTS 4   /* of a count, so that a byte does not wait for the one before */
#define SOME 65536 /* of anything that is counted no panel has more */
#define LINE 64   /* bytes of a line of the processor's caches */
#define LOW (__BYTE_ORDER__ == __ORDER_BIG_ENDIAN__) /* which byte of a lane its lower half is */

typedef uint16_t lanes __attribute__((vector_size(WIDTH)));
typedef float narrow __attribute__((vector_size(16)));
typedef double four __attribute__((vector_size(32)));

typedef uint64_t meaning; /* of a byte: its value, whether it belongs to a word, whether it stands alone, its class */
#define WORD (1ULL << 32)
#define MARK (1ULL << 33)
#define CLASS 34

typedef struct {
    Py_ssize_t name, head, home;
    double trust;
} expert;

typedef struct summing summing;

struct summing {
    PyObject_HEAD
    Py_ssize_t row, sets, tasks, names, experts, groups;
    uint8_t *table;   /* ROWS rows of "row" bytes */
    double *steps, *intercepts;
    Py_ssize_t *ends; /* of each set where its tasks end */
    float *blend;     /* of each group of columns, of each task: GROUP numbers */
    expert *own;
    void (*add)(const summing *self, Py_ssize_t begin, Py_ssize_t end, int32_t times);
    void (*mix)(const summing *self);
    /* What follows is written anew for each prompt. */
    int32_t *sums;
    double *scores, *powers, *gates, *mixed;
    uint32_t *numbers; /* of features */
    uint32_t before[LONGEST + 1], inverse[LONGEST + 1]; /* of each word, and of the end: the sum of what is before it */
    uint32_t marks[WORDS / 32];                         /* a bit for each number that was found */
    meaning meanings[256];
    uint8_t sizes[SIZES]; /* of each count its step */
};

static inline void fetch(const summing *self, uint32_t number) {
    const uint8_t *row = self->table + (size_t)number * self->row;
    for (Py_ssize_t at = 0; at < self->row; at += LINE)
        __builtin_prefetch(row + at);
}

/* Note a number unless it is noted; returns how many there are. */
static inline Py_ssize_t note(summing *self, Py_ssize_t many, uint32_t number) {
    uint32_t *marks = self->marks + (number >> 5), bit = 1u << (number & 31);
    self->numbers[many] = number;
    many += !(*marks & bit);
    *marks |= bit;
    fetch(self, number);
    return many;
}

/* Write the numbers of a prompt's features, each once, those of structural counts last; returns how many. */
static Py_ssize_t scan(summing *self, const uint8_t *raw, Py_ssize_t size, Py_ssize_t characters) {
    uint32_t parts[PARTS][COUNTS] = {{0}};
    uint32_t sum = 0, power = 1, inverse = 1;
    uint64_t outside = WORD;
    Py_ssize_t words = 0, many = 0;
    for (Py_ssize_t at = 0; at < size; at++) {
        meaning about = self->meanings[raw[at]];
        self->before[words] = sum;
        self->inverse[words] = inverse;
        words += (about & (outside | MARK)) != 0;
        outside = ~about & WORD;
        sum += (uint32_t)about * power; /* nothing where words are parted */
        power *= BASE;
        inverse *= INVERSE;
        parts[at & (PARTS - 1)][about >> CLASS]++;
    }
    self->before[words] = sum;
    uint32_t last = 0;
    for (Py_ssize_t at = 0; at < words; at++) {
        uint32_t hash = (self->before[at + 1] - self->before[at]) * self->inverse[at];
        many = note(self, many, hash >> SHIFT);
        if (at)
            many = note(self, many, (last * PAIR + hash) * ODD >> SHIFT);
        last = hash;
    }
    for (Py_ssize_t at = 0; at < many; at++)
        self->marks[self->numbers[at] >> 5] = 0;
    for (Py_ssize_t at = 0; at < COUNTS; at++) {
        Py_ssize_t count = 0;
        for (int part = 0; part < PARTS; part++)
            count += parts[part][at];
        if (at == COUNTS - 2)
            count = words;
        else if (at == COUNTS - 1)
            count = characters >> 2;
        uint32_t number = WORDS + STEPS * at + self->sizes[count < SIZES ? count : SIZES - 1];
        fetch(self, number);
        self->numbers[many++] = number;
    }
    return many;
}

/* Add so many times the rows of the numbers at these places, at most MOST of them. */
static inline __attribute__((always_inline)) void add(const summing *self, Py_ssize_t begin, Py_ssize_t end,
                                                      int32_t times) {
    for (Py_ssize_t column = 0; column < self->row; column += WIDTH) {
        const uint8_t *table = self->table + column;
        int32_t *sums = self->sums + column;
        lanes even = {0}, odd = {0};
        for (Py_ssize_t at = begin; at < end; at++) {
            lanes pairs;
            memcpy(&pairs, table + (size_t)self->numbers[at] * self->row, WIDTH);
            even += pairs & 0xff;
            odd += pairs >> 8;
        }
        for (int lane = 0; lane < WIDTH / 2; lane++) {
            sums[2 * lane + LOW] += even[lane] * times;
            sums[2 * lane + !LOW] += odd[lane] * times;
        }
    }
}

/* Add up the columns of the blend, each task's by how likely it is. */
static inline __attribute__((always_inline)) void mix(const summing *self) {
    const float *blend = self->blend;
    for (Py_ssize_t group = 0; group < self->groups; group++) {
        four mixed[GROUP / 4] = {{0.0}};
        for (Py_ssize_t task = 0; task < self->tasks; task++, blend += GROUP) {
            double share = self->powers[task];
            for (int at = 0; at < GROUP / 4; at++) {
                narrow each;
                memcpy(&each, blend + 4 * at, sizeof each);
                mixed[at] += share * __builtin_convertvector(each, four);
            }
        }
        memcpy(self->mixed + group * GROUP, mixed, sizeof mixed);
    }
}

static void add_plainly(const summing *self, Py_ssize_t begin, Py_ssize_t end, int32_t times) {
    add(self, begin, end, times);
}

static void mix_plainly(const summing *self) {
    mix(self);
}

#ifdef __x86_64__
__attribute__((target("avx2"))) static void add_widely(const summing *self, Py_ssize_t begin, Py_ssize_t end,
                                                       int32_t times) {
    add(self, begin, end, times);
}

__attribute__((target("avx2"))) static void mix_widely(const summing *self) {
    mix(self);
}
#endif

/* Write the scores of sets, tasks and experts. */
static void score(summing *self, Py_ssize_t many) {
    Py_ssize_t words = many - COUNTS, heads = self->sets + self->tasks + self->experts;
    int32_t raised = -RAISED * (int32_t)(words + COARSER * COUNTS);
    for (Py_ssize_t at = 0; at < self->row; at++)
        self->sums[at] = raised;
    for (Py_ssize_t begin = 0; begin < words; begin += MOST)
        self->add(self, begin, begin + MOST < words ? begin + MOST : words, 1);
    self->add(self, words, many, COARSER);
    double root = 1.0 / sqrt((double)many);
    for (Py_ssize_t at = 0; at < heads; at++)
        self->scores[at] = self->sums[at] * root * self->steps[at] + self->intercepts[at];
}

/* Neither fmin() nor fmax(), which are calls where a NaN would have to be told apart. */
static inline double within(double number, double least, double most) {
    return number < least ? least : number > most ? most : number;
}

/* Write how much the prompt is like each set. */
static void gate(summing *self) {
    double highest = self->scores[0], total = 0.0;
    for (Py_ssize_t at = 1; at < self->sets; at++)
        highest = self->scores[at] > highest ? self->scores[at] : highest;
    for (Py_ssize_t at = 0; at < self->sets; at++)
        total += self->gates[at] = exp(self->scores[at] - highest);
    for (Py_ssize_t at = 0; at < self->sets; at++)
        self->gates[at] = within(self->gates[at] / total, 1e-6, 1.0);
}

/* Write how likely each task is, which is the gate's of all of a set together; returns the likeliest. */
static Py_ssize_t weigh(summing *self) {
    const double *scores = self->scores + self->sets;
    double *powers = self->powers, familiar = -1.0;
    Py_ssize_t task = 0, best = 0;
    for (Py_ssize_t home = 0; home < self->sets; home++) {
        Py_ssize_t first = task, top = task;
        double total = 0.0;
        for (; task < self->ends[home]; task++) {
            if (scores[task] > scores[top])
                top = task;
            /* No prompt, however odd, overflows a power or leaves a set without any. */
            total += powers[task] = exp(within(scores[task], -STEEPEST, STEEPEST));
        }
        double ratio = self->gates[home] / total;
        for (Py_ssize_t at = first; at < task; at++)
            powers[at] *= ratio;
        if (top < task && powers[top] > familiar) {
            familiar = powers[top];
            best = top;
        }
    }
    return best;
}

static inline double rate_of(double logit) {
    return 1.0 / (1.0 + exp(-within(logit, -STEEPEST, STEEPEST)));
}

static inline double logit_of(double rate) {
    rate = within(rate, EDGE, 1.0 - EDGE);
    return log(rate / (1.0 - rate));
}

static int put(PyObject *told, Py_ssize_t at, double number) {
    PyObject *one = PyFloat_FromDouble(number);
    if (!one)
        return -1;
    PyList_SET_ITEM(told, at, one);
    return 0;
}

static PyObject *tell(summing *self, Py_ssize_t best) {
    PyObject *told = PyList_New(2 + 3 * self->names);
    double familiar = self->powers[best];
    if (!told || put(told, 0, (double)best) || put(told, 1, familiar))
        goto failed;
    const double *mixed = self->mixed, *rates = self->mixed + 3 * self->names;
    Py_ssize_t next = 0;
    for (Py_ssize_t name = 0; name < self->names; name++, mixed += 3) {
        double total = FOREIGN * mixed[0], weight = FOREIGN;
        for (; next < self->experts && self->own[next].name == name; next++) {
            const expert *own = self->own + next;
            double gate = self->gates[own->home];
            total += gate * rate_of(self->scores[own->head] + own->trust * logit_of(rates[next] / gate));
            weight += gate;
        }
        double rate = total / weight, seen = mixed[1];
        if (put(told, 2 + 3 * name, rate) ||
            put(told, 3 + 3 * name, sqrt(rate * (1.0 - rate) / (4.0 + familiar * seen))) ||
            put(told, 4 + 3 * name, mixed[2]))
            goto failed;
    }
    return told;
failed:
    Py_XDECREF(told);
    return NULL;
}

static PyObject *summing_read(PyObject *object, PyObject *const *arguments, Py_ssize_t count) {
    summing *self = (summing *)object;
    if (count != 2 || !PyBytes_Check(arguments[0])) {
        PyErr_SetString(PyExc_TypeError, "expected bytes, and how many characters they are of");
        return NULL;
    }
    Py_ssize_t size = PyBytes_GET_SIZE(arguments[0]), characters = PyLong_AsSsize_t(arguments[1]);
    if (characters < 0 || size > LONGEST) {
        if (!PyErr_Occurred())
            PyErr_Format(PyExc_ValueError, "expected at most %d bytes, and no negative number", LONGEST);
        return NULL;
    }
    score(self, scan(self, (const uint8_t *)PyBytes_AS_STRING(arguments[0]), size, characters));
    gate(self);
    Py_ssize_t best = weigh(self);
    self->mix(self);
    return tell(self, best);
}

/* Memory for so many of a size, where a line of the caches begins; NULL with an exception set. */
static void *space(Py_ssize_t many, size_t size) {
    size_t bytes = ((size_t)many * size + LINE) / LINE * LINE;
    void *found = aligned_alloc(LINE, bytes);
    if (!found)
        PyErr_NoMemory();
    return found;
}

/* A copy of an array that has so many of a size; NULL with an exception set. */
static void *copy(const Py_buffer *array, const char *what, Py_ssize_t many, size_t size) {
    if (array->len != many * (Py_ssize_t)size) {
        PyErr_Format(PyExc_ValueError, "expected %s of %zd bytes, got %zd", what, many * (Py_ssize_t)size, array->len);
        return NULL;
    }
    void *found = space(many, size);
    if (found)
        memcpy(found, array->buf, array->len);
    return found;
}

static int understand(summing *self, const uint32_t *values, const uint8_t *kinds, const uint8_t *classes) {
    for (int byte = 0; byte < 256; byte++) {
        if (kinds[byte] > 2 || classes[byte] >= COUNTS - 2)
            return -1;
        self->meanings[byte] = values[byte] | (kinds[byte] == 1 ? WORD : kinds[byte] == 2 ? MARK : 0) |
                               (meaning)classes[byte] << CLASS;
    }
    for (int count = 0; count < SIZES; count++)
        if (self->sizes[count] >= STEPS)
            return -1;
    Py_ssize_t begin = 0;
    for (Py_ssize_t home = 0; home < self->sets; begin = self->ends[home++])
        if (self->ends[home] < begin || self->ends[home] > self->tasks)
            return -1;
    return begin == self->tasks ? 0 : -1;
}

/* Take the experts: of each its name, the place of its score, and its set; in the order of their names. */
static int employ(summing *self, const int64_t *owners, const double *trusts) {
    Py_ssize_t last = 0, heads = self->sets + self->tasks + self->experts;
    for (Py_ssize_t at = 0; at < self->experts; at++, owners += 3) {
        if (owners[0] < last || owners[0] >= self->names || owners[1] < 0 || owners[1] >= heads || owners[2] < 0 ||
            owners[2] >= self->sets)
            return -1;
        last = owners[0];
        self->own[at] = (expert){owners[0], owners[1], owners[2], trusts[at]};
    }
    return 0;
}

enum { TABLE, VALUES, KINDS, CLASSES, SIZES_OF, SCALES, INTERCEPTS, ENDS, BLEND, OWNERS, TRUSTS, ARRAYS };

static int fill(summing *self, Py_buffer *arrays) {
    if (self->sets < 1 || self->tasks < 1 || self->names < 1 || self->sets > SOME || self->tasks > SOME ||
        self->names > SOME || self->row > SOME) {
        PyErr_Format(PyExc_ValueError, "expected 1 to %d sets, tasks, names, and bytes of a row", SOME);
        return -1;
    }
    Py_ssize_t heads = self->sets + self->tasks + self->experts, columns = 3 * self->names + self->experts;
    self->groups = (columns + GROUP - 1) / GROUP;
    if (heads > self->row || self->row % WIDTH) {
        PyErr_SetString(PyExc_ValueError, "expected rows of whole 32 bytes, that hold every score");
        return -1;
    }
    if (arrays[VALUES].len != 256 * 4 || arrays[KINDS].len != 256 || arrays[CLASSES].len != 256 ||
        arrays[SIZES_OF].len != SIZES || arrays[TRUSTS].len != self->experts * 8) {
        PyErr_SetString(PyExc_ValueError, "expected something of each byte, of each count, and of each expert");
        return -1;
    }
    memcpy(self->sizes, arrays[SIZES_OF].buf, SIZES);
    if (!(self->table = copy(&arrays[TABLE], "a table", ROWS * self->row, 1)) ||
        !(self->steps = copy(&arrays[SCALES], "steps", heads, sizeof(double))) ||
        !(self->intercepts = copy(&arrays[INTERCEPTS], "intercepts", heads, sizeof(double))) ||
        !(self->ends = copy(&arrays[ENDS], "ends", self->sets, sizeof(int64_t))) ||
        !(self->blend = copy(&arrays[BLEND], "a blend", self->groups * self->tasks * GROUP, sizeof(float))) ||
        !(self->own = space(self->experts, sizeof(expert))) ||
        !(self->sums = space(self->row, sizeof(int32_t))) ||
        !(self->scores = space(heads, sizeof(double))) ||
        !(self->powers = space(self->tasks, sizeof(double))) ||
        !(self->gates = space(self->sets, sizeof(double))) ||
        !(self->mixed = space(self->groups * GROUP, sizeof(double))) ||
        !(self->numbers = space(2 * LONGEST + COUNTS, sizeof(uint32_t))))
        return -1;
    if (arrays[OWNERS].len != self->experts * 24 || employ(self, arrays[OWNERS].buf, arrays[TRUSTS].buf) ||
        understand(self, arrays[VALUES].buf, arrays[KINDS].buf, arrays[CLASSES].buf)) {
        PyErr_SetString(PyExc_ValueError, "expected places within bounds");
        return -1;
    }
    return 0;
}

static void release(summing *self) {
    void *all[] = {self->table,  self->steps, self->intercepts, self->ends,  self->blend, self->own,
                   self->sums,   self->scores, self->powers,    self->gates, self->mixed, self->numbers};
    for (size_t at = 0; at < sizeof all / sizeof *all; at++)
        free(all[at]);
}

static void summing_dealloc(PyObject *self) {
    release((summing *)self);
    Py_TYPE(self)->tp_free(self);
}

static PyObject *summing_new(PyTypeObject *type, PyObject *arguments, PyObject *named) {
    static char *names[] = {"table", "values", "kinds", "classes", "sizes", "steps", "intercepts", "ends",
                            "blend", "owners", "trusts", "row", "sets", "tasks", "names", NULL};
    Py_buffer arrays[ARRAYS] = {{0}};
    summing *self = (summing *)type->tp_alloc(type, 0); /* all of it nought */
    if (!self)
        return NULL;
    int filled = -1;
    if (PyArg_ParseTupleAndKeywords(arguments, named, "$y*y*y*y*y*y*y*y*y*y*y*nnnn", names, &arrays[TABLE],
                                    &arrays[VALUES], &arrays[KINDS], &arrays[CLASSES], &arrays[SIZES_OF],
                                    &arrays[SCALES], &arrays[INTERCEPTS], &arrays[ENDS], &arrays[BLEND],
                                    &arrays[OWNERS], &arrays[TRUSTS], &self->row, &self->sets, &self->tasks,
                                    &self->names)) {
        self->experts = arrays[TRUSTS].len / (Py_ssize_t)sizeof(double);
        filled = fill(self, arrays);
        for (int at = 0; at < ARRAYS; at++)
            PyBuffer_Release(&arrays[at]);
    }
    self->add = add_plainly;
    self->mix = mix_plainly;
#ifdef __x86_64__
    if (__builtin_cpu_supports("avx2")) {
        self->add = add_widely;
        self->mix = mix_widely;
    }
#endif
    if (filled)
        Py_CLEAR(self);
    return (PyObject *)self;
}

static PyMethodDef methods[] = {
    {"read", (PyCFunction)(void (*)(void))summing_read, METH_FASTCALL,
     "read(raw, characters, /)\n--\n\nThe place of the likeliest task, how likely it is, and of each name three: the\n"
     "probability of a good answer, its standard error, the answer's tokens."},
    {NULL, NULL, 0, NULL},
};

static PyTypeObject type = {
    PyVarObject_HEAD_INIT(NULL, 0).tp_name = "gateway.routing.summing.Summing",
    .tp_doc = "Says of prompts what was learned. Not to be shared between threads: it has a scratch of its own.",
    .tp_basicsize = sizeof(summing),
    .tp_flags = Py_TPFLAGS_DEFAULT,
    .tp_new = summing_new,
    .tp_dealloc = summing_dealloc,
    .tp_methods = methods,
};

static struct PyModuleDef definition = {
    PyModuleDef_HEAD_INIT, "summing", "What a panel says of a prompt.", 0, NULL, NULL, NULL, NULL, NULL,
};

PyMODINIT_FUNC PyInit_summing(void) {
    PyObject *module = PyModule_Create(&definition);
    if (module && PyModule_AddType(module, &type)) {
        Py_DECREF(module);
        return NULL;
    }
    return module;
}
