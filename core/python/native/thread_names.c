#include "thread_names.h"

#include <pthread.h>
#include <stdlib.h>
#include <unistd.h>

#include "clock.h"
#include "names.h"
#include "spprof.h"
#include "watchers.h"

#define PRUNE_LEAST 1024 /* ended lives, before those of threads that nobody found are dropped */
#define BUCKETS 1024     /* a power of two */

/* A thread in a watched dictionary. As long as it is here the dictionary holds `thread`. */
struct entry {
    struct entry *next; /* of the bucket */
    const PyObject *dictionary;
    uint64_t key;     /* in `active` the thread's ident, in `limbo` the object's address */
    PyObject *thread; /* NULL in `limbo` */
    int32_t tid;      /* 0: not known (yet) */
    uint64_t born;
};

/* All of it under `lock`, which a callback takes while it is inside a dictionary: so nobody who
 * holds it may detach. Before the session's own locks. */
static struct {
    pthread_mutex_t lock;
    bool noting; /* a session is active; else nothing else is here */
    struct entry *buckets[BUCKETS];
    const PyObject *limbo;
    struct lives ended;
    size_t prune_at; /* how many they may be */
} notes = {.lock = PTHREAD_MUTEX_INITIALIZER};

static PyObject *name_of_name, *name_of_tid; /* once made, for good */

/* --- reading a Thread object ------------------------------------------------------------------ */

/* The value of an attribute that the object itself has; NULL: it has none, or its type has a say.
 * No property, __getattribute__ or __getattr__ is asked, so no foreign code runs. Where another
 * thread writes an attribute of the same object at this moment, CPython may let go of the lock of
 * the dictionary that the caller is in. That harms nothing: `threading` changes it under a lock of
 * its own. */
static PyObject *own_attribute(PyObject *object, PyObject *name) {
    PyObject *pending = PyErr_GetRaisedException();
    PyObject *value = NULL;
    if (_PyType_Lookup(Py_TYPE(object), name) == NULL)
        value = _PyObject_GenericGetAttrWithDict(object, name, NULL, 1);
    PyErr_SetRaisedException(pending);
    return value;
}

static void read_name(PyObject *thread, struct text *name) {
    PyObject *value = own_attribute(thread, name_of_name);
    names_take_string(value, name);
    Py_XDECREF(value);
}

static int32_t read_tid(PyObject *thread) {
    PyObject *value = own_attribute(thread, name_of_tid);
    int overflow;
    bool is_int = value != NULL && PyLong_CheckExact(value);
    long tid = is_int ? PyLong_AsLongAndOverflow(value, &overflow) : 0;
    Py_XDECREF(value);
    return tid > 0 && tid <= INT32_MAX ? (int32_t)tid : 0;
}

/* --- entries, with the lock held -------------------------------------------------------------- */

static struct entry **link_to(const PyObject *dictionary, uint64_t key) {
    uint64_t hash = key * UINT64_C(0x9e3779b97f4a7c15);
    struct entry **link = &notes.buckets[hash >> 32 & (BUCKETS - 1)];
    while (*link != NULL && ((*link)->key != key || (*link)->dictionary != dictionary))
        link = &(*link)->next;
    return link;
}

/* Without memory the thread stays without its Python name. */
static void add_entry(const struct entry *entry) {
    struct entry **link = link_to(entry->dictionary, entry->key);
    struct entry *added = notes.noting && *link == NULL ? malloc(sizeof *added) : NULL;
    if (added == NULL)
        return;
    *added = *entry;
    added->next = NULL;
    *link = added;
}

static void remove_entry(struct entry **link) {
    struct entry *entry = *link;
    *link = entry->next;
    free(entry);
}

/* Without memory the thread stays without its Python name. */
static void add_ended(struct life life) {
    if (notes.ended.count >= notes.prune_at) {
        lives_prune(&notes.ended, life.ended, spprof_thread_found);
        size_t twice = 2 * notes.ended.count;
        notes.prune_at = twice > PRUNE_LEAST ? twice : PRUNE_LEAST;
    }
    lives_add(&notes.ended, life);
}

/* --- what happens in the dictionaries --------------------------------------------------------- */

static uint64_t key_of(PyObject *key) {
    return PyLong_CheckExact(key) ? PyLong_AsUnsignedLongLongMask(key) : (uintptr_t)key;
}

static bool is_own(uint64_t ident) { return ident == PyThread_get_thread_ident(); }

/* Before a thread is started. With the lock held. */
static void begin_start(const PyObject *dictionary, uint64_t key) {
    struct entry entry = {.dictionary = dictionary, .key = key, .born = clock_now()};
    add_entry(&entry);
}

/* A thread adds itself. One that is added by another is none that `threading` has started. One
 * whose start nobody saw, because others started it, is as old as need be. With the lock held. */
static void begin_run(const PyObject *dictionary, uint64_t ident, PyObject *thread) {
    if (!is_own(ident))
        return;
    const struct entry *start = *link_to(notes.limbo, (uintptr_t)thread);
    struct entry entry = {.dictionary = dictionary, .key = ident, .thread = thread, .tid = gettid()};
    entry.born = start != NULL ? start->born : 0;
    add_entry(&entry);
}

static void on_added(const PyObject *dictionary, uint64_t key, PyObject *thread) {
    pthread_mutex_lock(&notes.lock);
    if (dictionary == notes.limbo)
        begin_start(dictionary, key);
    else
        begin_run(dictionary, key, thread);
    pthread_mutex_unlock(&notes.lock);
}

/* The entry's thread with a reference to it; NULL: there is none, and no entry either now. */
static PyObject *thread_of(const PyObject *dictionary, uint64_t key) {
    pthread_mutex_lock(&notes.lock);
    struct entry **link = link_to(dictionary, key);
    PyObject *thread = *link != NULL ? Py_XNewRef((*link)->thread) : NULL;
    if (*link != NULL && thread == NULL)
        remove_entry(link);
    pthread_mutex_unlock(&notes.lock);
    return thread;
}

/* Whoever ended the notes meanwhile has the thread among those that run: then the name is not
 * ours to keep. */
static void end_run(const PyObject *dictionary, uint64_t ident, const PyObject *thread, struct life life) {
    pthread_mutex_lock(&notes.lock);
    struct entry **link = link_to(dictionary, ident);
    if (*link != NULL && (*link)->thread == thread) {
        life.tid = (*link)->tid != 0 || !is_own(ident) ? (*link)->tid : gettid();
        life.born = (*link)->born;
        remove_entry(link);
        add_ended(life);
    } else {
        free(life.name.bytes);
    }
    pthread_mutex_unlock(&notes.lock);
}

/* The thread is still in the dictionary, for the callback comes before the change. */
static void on_leaving(const PyObject *dictionary, uint64_t key) {
    PyObject *thread = thread_of(dictionary, key);
    if (thread == NULL)
        return;
    struct life life = {.ended = clock_now()};
    read_name(thread, &life.name);
    end_run(dictionary, key, thread, life);
    Py_DECREF(thread);
}

/* The key of some thread in the dictionary; 0: there is none. */
static uint64_t some_key(const PyObject *dictionary) {
    uint64_t key = 0;
    pthread_mutex_lock(&notes.lock);
    for (size_t i = 0; i < BUCKETS && key == 0; i++)
        for (struct entry *entry = notes.buckets[i]; entry != NULL && key == 0; entry = entry->next)
            key = entry->dictionary == dictionary ? entry->key : 0;
    pthread_mutex_unlock(&notes.lock);
    return key;
}

static void on_all_leaving(const PyObject *dictionary) {
    uint64_t key;
    while ((key = some_key(dictionary)) != 0)
        on_leaving(dictionary, key);
}

static int on_event(PyDict_WatchEvent event, PyObject *dictionary, PyObject *key, PyObject *value) {
    switch (event) {
    case PyDict_EVENT_ADDED:
        on_added(dictionary, key_of(key), value);
        break;
    case PyDict_EVENT_MODIFIED:
        on_leaving(dictionary, key_of(key));
        on_added(dictionary, key_of(key), value);
        break;
    case PyDict_EVENT_DELETED:
        on_leaving(dictionary, key_of(key));
        break;
    case PyDict_EVENT_CLEARED:
    case PyDict_EVENT_DEALLOCATED:
        on_all_leaving(dictionary);
        break;
    case PyDict_EVENT_CLONED: /* into an empty one, by a forked child: no thread adds itself */
        break;
    }
    return 0;
}

/* --- a session's life
 * -------------------------------------------------------------------------- */

static bool prepare(void) {
    if (name_of_name == NULL)
        name_of_name = PyUnicode_InternFromString("_name");
    if (name_of_tid == NULL)
        name_of_tid = PyUnicode_InternFromString("_native_id");
    PyErr_Clear();
    return name_of_name != NULL && name_of_tid != NULL;
}

/* Inside the dictionary. Their kernel ids are read afterwards: to read them may let go of it. */
static void note_running(PyObject *active, struct running *running) {
    running->of = malloc((size_t)PyDict_Size(active) * sizeof *running->of);
    PyObject *key, *thread;
    Py_ssize_t position = 0;
    while (running->of != NULL && PyDict_Next(active, &position, &key, &thread)) {
        struct entry entry = {.dictionary = active, .key = key_of(key), .thread = thread};
        pthread_mutex_lock(&notes.lock);
        add_entry(&entry);
        pthread_mutex_unlock(&notes.lock);
        running->of[running->count++] = (struct running_thread){active, entry.key, Py_NewRef(thread)};
    }
}

static void begin_notes(const PyObject *limbo) {
    pthread_mutex_lock(&notes.lock);
    notes.noting = true;
    notes.limbo = limbo;
    notes.prune_at = PRUNE_LEAST;
    pthread_mutex_unlock(&notes.lock);
}

void thread_names_begin(PyObject *active, PyObject *limbo, struct running *running) {
    *running = (struct running){0};
    bool are_dictionaries = PyDict_Check(active) && PyDict_Check(limbo) && active != limbo;
    int watcher = are_dictionaries && prepare() ? watchers_dict(on_event) : -1;
    if (watcher < 0)
        return;
    begin_notes(limbo);
    Py_BEGIN_CRITICAL_SECTION(limbo);
    PyDict_Watch(watcher, limbo);
    Py_END_CRITICAL_SECTION();
    Py_BEGIN_CRITICAL_SECTION(active);
    if (PyDict_Watch(watcher, active) == 0)
        note_running(active, running);
    Py_END_CRITICAL_SECTION();
    PyErr_Clear();
}

void thread_names_identify(struct running *running) {
    for (size_t i = 0; i < running->count; i++) {
        struct running_thread *one = &running->of[i];
        int32_t tid = read_tid(one->thread);
        pthread_mutex_lock(&notes.lock);
        struct entry *entry = *link_to(one->dictionary, one->key);
        if (entry != NULL && entry->thread == one->thread)
            entry->tid = tid;
        pthread_mutex_unlock(&notes.lock);
        Py_DECREF(one->thread);
    }
    free(running->of);
    *running = (struct running){0};
}

/* Those that run go to the ended ones, with a reference to each. With the lock held. */
static void take_running(struct lives *lives) {
    for (size_t i = 0; i < BUCKETS; i++) {
        while (notes.buckets[i] != NULL) {
            const struct entry *entry = notes.buckets[i];
            struct life life = {.tid = entry->tid, .born = entry->born, .ended = LIFE_GOES_ON};
            life.thread = entry->thread;
            if (entry->thread != NULL && lives_add(lives, life))
                Py_INCREF(entry->thread);
            remove_entry(&notes.buckets[i]);
        }
    }
}

void thread_names_end(struct lives *lives) {
    pthread_mutex_lock(&notes.lock);
    *lives = notes.ended;
    take_running(lives);
    notes.noting = false;
    notes.ended = (struct lives){0};
    pthread_mutex_unlock(&notes.lock);
}

void thread_names_read(struct lives *lives) {
    for (size_t i = 0; i < lives->count; i++) {
        struct life *life = &lives->of[i];
        PyObject *thread = life->thread;
        if (thread == NULL)
            continue;
        read_name(thread, &life->name);
        life->thread = NULL;
        Py_DECREF(thread);
    }
    lives_sort(lives);
}

void thread_names_free(struct lives *lives) {
    for (size_t i = 0; i < lives->count; i++)
        Py_XDECREF((PyObject *)lives->of[i].thread);
    lives_free(lives);
}

void thread_names_forget(void) {
    pthread_mutex_init(&notes.lock, NULL);
    notes.noting = false;
    memset(notes.buckets, 0, sizeof notes.buckets);
    notes.ended = (struct lives){0};
}
