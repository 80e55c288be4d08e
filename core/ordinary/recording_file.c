#define _GNU_SOURCE /* O_CLOEXEC */
#include "recording_file.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/uio.h>
#include <unistd.h>

#include "atomics.h"
#include "checksum.h"
#include "location.h"

/* Bytes that one append writes, about: what it takes to write them the rings have to have room for. */
#define AT_ONCE (4 << 20)

/* A file is written whole again where it is twice as large as the last time, and this more. */
#define GROWTH (4 << 20)

/* Where nothing has come, the counters are written so many nanoseconds later. */
#define QUIET UINT64_C(10000000000)

enum kind { SETTINGS = 1, CODES, NODES, RECORDS, CHANGES, AGAIN, THREADS, COUNTERS, END };

/* --- what lies in the file -------------------------------------------------------------------- */

struct head {
    uint32_t kind, length; /* of what follows, bytes */
    uint32_t sum;          /* of that */
    uint32_t head_sum;     /* of the three above: a length that is wrong is not taken for a file that was cut */
};

struct code_head {
    int32_t first_line;
    uint32_t name_length, file_length;
};

struct node {
    int32_t parent, code, line;
};

struct change {
    int64_t last;
    uint32_t number, weight;
};

struct thread {
    int32_t tid;
    char name[16];
};

/* --- the file --------------------------------------------------------------------------------- */

/* A file by its path, and what makes sure that it is the one. */
struct target {
    char *path;
    uint64_t device, inode;
    uint64_t size; /* of what has been written whole */
};

/* What it has of the recording. */
struct progress {
    uint32_t records;
    int32_t nodes, codes;
    uint64_t threads;
    uint64_t form; /* enum recording_form, of its records */
};

#define CODES_AT_ONCE 64
#define PARTS (3 * CODES_AT_ONCE + 1)

struct recording_file {
    struct recording *recording;
    struct recording_file_sources sources;
    struct target target, part; /* the second has no size where it is not there */
    struct progress written;    /* to whichever of the two is being written */
    struct progress before;     /* of the first, while it is the second */
    uint64_t head_size;         /* of the head and settings, which another file begins with too */
    uint64_t whole_size;        /* that the file had when it was written whole */
    uint64_t due;               /* CLOCK_MONOTONIC, nanoseconds */
    uint64_t told, told_ticks;  /* when counters were written last, and theirs */
    int64_t left;               /* bytes of this append */
    int descriptor;             /* during an append */
    int error;                  /* of this append */
    bool ended;
    sigset_t mask; /* of the caller */
    /* Who appends writes, any thread reads. */
    _Atomic uint64_t failures, last_error;
    /* The block that is being put together. */
    struct iovec parts[PARTS];
    int part_count;
    union {
        struct code_head codes[CODES_AT_ONCE];
        struct node nodes[CALLTREE_BLOCK];
        struct change changes[4096];
        struct thread threads[4096];
    };
};

static bool is_making_part(const struct recording_file *file) { return file->part.size != 0; }

static struct target *present_target(struct recording_file *file) {
    return is_making_part(file) ? &file->part : &file->target;
}

static bool failed(struct recording_file *file, int error) {
    file->error = error;
    return false;
}

/* The one that the target is, and no longer than it was left: what is there besides was not written whole. */
static bool check_target(struct recording_file *file, const struct target *target) {
    struct stat found;
    if (fstat(file->descriptor, &found) != 0)
        return failed(file, errno);
    if (found.st_dev != target->device || found.st_ino != target->inode || (uint64_t)found.st_size < target->size)
        return failed(file, ESTALE);
    if ((uint64_t)found.st_size > target->size && ftruncate(file->descriptor, (off_t)target->size) != 0)
        return failed(file, errno);
    return true;
}

/* Nothing that has been put in its place is waited for, or written to. */
static bool open_target(struct recording_file *file) {
    const struct target *target = present_target(file);
    file->descriptor = open(target->path, O_RDWR | O_APPEND | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK);
    return file->descriptor >= 0 ? check_target(file, target) : failed(file, errno);
}

static void close_target(struct recording_file *file) {
    if (file->descriptor >= 0)
        close(file->descriptor);
    file->descriptor = -1;
}

/* A write beyond the limit of a file's size fails, and sends a signal that ends a program: it is kept from the caller's. */
static void hold_size_signal(struct recording_file *file) {
    sigset_t size;
    sigemptyset(&size);
    sigaddset(&size, SIGXFSZ);
    pthread_sigmask(SIG_BLOCK, &size, &file->mask);
}

static void take_size_signal(struct recording_file *file) {
    sigset_t size;
    sigemptyset(&size);
    sigaddset(&size, SIGXFSZ);
    if (file->error == EFBIG && sigismember(&file->mask, SIGXFSZ) == 0)
        sigtimedwait(&size, NULL, &(struct timespec){0});
    pthread_sigmask(SIG_SETMASK, &file->mask, NULL);
}

/* Calls `write` with the file open. False: that failed, which is counted. */
static bool with_target(struct recording_file *file, bool (*write)(struct recording_file *file, const void *what),
                        const void *what) {
    file->error = 0;
    hold_size_signal(file);
    bool is_sound = open_target(file) && write(file, what);
    close_target(file);
    take_size_signal(file);
    atomic_write(counter_outcome, &file->last_error, (uint64_t)file->error);
    if (!is_sound)
        atomic_write(counter_outcome, &file->failures, atomic_read(counter_own, &file->failures) + 1);
    return is_sound;
}

/* --- blocks ----------------------------------------------------------------------------------- */

static void begin_block(struct recording_file *file) { file->part_count = 1; }

static void add_part(struct recording_file *file, const void *bytes, size_t size) {
    if (size != 0)
        file->parts[file->part_count++] = (struct iovec){.iov_base = (void *)(uintptr_t)bytes, .iov_len = size};
}

/* A write that is interrupted is no failure; one that stops half way says why when it is asked to go on. */
static bool write_parts(struct recording_file *file) {
    struct iovec *part = file->parts;
    int count = file->part_count;
    while (count > 0) {
        ssize_t wrote = writev(file->descriptor, part, count);
        if (wrote < 0 && errno == EINTR)
            continue;
        if (wrote <= 0)
            return failed(file, wrote < 0 ? errno : EIO);
        for (; count > 0 && (size_t)wrote >= part->iov_len; part++, count--)
            wrote -= (ssize_t)part->iov_len;
        if (count > 0) {
            part->iov_base = (char *)part->iov_base + wrote;
            part->iov_len -= (size_t)wrote;
        }
    }
    return true;
}

/* Writes the block whole; where it cannot, what there is of it is cut off, now or before the next. */
static bool write_block(struct recording_file *file, enum kind kind) {
    uint64_t length = 0;
    struct head head = {.kind = kind};
    for (int i = 1; i < file->part_count; i++) {
        head.sum = checksum(head.sum, file->parts[i].iov_base, file->parts[i].iov_len);
        length += file->parts[i].iov_len;
    }
    if (length > UINT32_MAX)
        return failed(file, EFBIG);
    head.length = (uint32_t)length;
    head.head_sum = checksum(0, &head, offsetof(struct head, head_sum));
    file->parts[0] = (struct iovec){.iov_base = &head, .iov_len = sizeof head};
    struct target *target = present_target(file);
    if (!write_parts(file)) {
        int error = ftruncate(file->descriptor, (off_t)target->size);
        (void)error; /* check_target tries again */
        return false;
    }
    target->size += sizeof head + length;
    file->left -= (int64_t)(sizeof head + length);
    return true;
}

static bool write_bytes(struct recording_file *file, enum kind kind, const void *bytes, size_t size) {
    begin_block(file);
    add_part(file, bytes, size);
    return write_block(file, kind);
}

static bool has_room(const struct recording_file *file) { return file->left > 0; }

/* --- threads, code objects, nodes ------------------------------------------------------------- */

static bool write_threads(struct recording_file *file, uint64_t until) {
    while (file->written.threads < until) {
        uint64_t count = 0;
        for (; count < 4096 && file->written.threads + count < until; count++) {
            struct thread thread = {0};
            if (!file->sources.thread(file->written.threads + count, &thread.tid, thread.name))
                thread = (struct thread){0};
            file->threads[count] = thread;
        }
        if (!write_bytes(file, THREADS, file->threads, count * sizeof(struct thread)))
            return false;
        file->written.threads += count;
    }
    return true;
}

static struct codes_note note_of(struct recording_file *file, int32_t number, int32_t next) {
    return codes_note(file->recording->tree.codes, calltree_node(&file->recording->tree, number)->code, next,
                      file->sources.names);
}

/* Code objects are listed in the order in which nodes have them, so one that has no place in the file yet has the next. Writes
 * those of the nodes from the first that is not written on, and gives in *until the node whose are not. */
static bool write_codes(struct recording_file *file, int32_t *until) {
    static char unknown[] = "[unknown]";
    int32_t count = 0, node = file->written.nodes;
    begin_block(file);
    for (; node < *until && count < CODES_AT_ONCE; node++) {
        struct codes_note note = note_of(file, node, file->written.codes + count);
        if (note.place != file->written.codes + count)
            continue;
        if (!note.named)
            note.names.qualname = (struct text){unknown, sizeof unknown - 1};
        file->codes[count] = (struct code_head){note.names.first_line, (uint32_t)note.names.qualname.length,
                                                (uint32_t)note.names.filename.length};
        add_part(file, &file->codes[count], sizeof(struct code_head));
        add_part(file, note.names.qualname.bytes, note.names.qualname.length);
        add_part(file, note.names.filename.bytes, note.names.filename.length);
        count++;
    }
    if (count > 0 && !write_block(file, CODES))
        return false;
    file->written.codes += count;
    *until = node;
    return true;
}

static struct node written_node(struct recording_file *file, int32_t number) {
    const struct calltree_node *node = calltree_node(&file->recording->tree, number);
    struct codes_note note = note_of(file, number, 0);
    const struct text *table = &note.names.linetable;
    int32_t line = note.named ? location_line((const uint8_t *)table->bytes, table->length, note.names.first_line,
                                              node->instruction)
                              : 0;
    return (struct node){.parent = node->parent, .code = note.place, .line = line};
}

static bool write_nodes(struct recording_file *file) {
    int32_t count = file->recording->tree.count;
    while (file->written.nodes < count && has_room(file)) {
        int32_t from = file->written.nodes, until = count - from < CALLTREE_BLOCK ? count : from + CALLTREE_BLOCK;
        if (!write_codes(file, &until))
            return false;
        for (int32_t node = from; node < until; node++)
            file->nodes[node - from] = written_node(file, node);
        if (!write_bytes(file, NODES, file->nodes, (size_t)(until - from) * sizeof(struct node)))
            return false;
        file->written.nodes = until;
    }
    return true;
}

/* --- records ---------------------------------------------------------------------------------- */

static void forget_changes(struct recording *recording) {
    memset(recording->changed, 0, ((size_t)recording->count + 63) / 64 * sizeof *recording->changed);
}

/* The records that are written have become others: they are all new. */
static bool write_again(struct recording_file *file, uint64_t form) {
    if (!write_bytes(file, AGAIN, NULL, 0))
        return false;
    file->written.records = 0;
    file->written.form = form;
    forget_changes(file->recording);
    return true;
}

/* The marks of 64 records from `word` times as many on, of those that are written. */
static uint64_t marks_at(const struct recording_file *file, uint32_t word) {
    uint64_t marks = file->recording->changed[word];
    uint32_t after = file->written.records - 64 * word;
    return after < 64 ? marks & ((UINT64_C(1) << after) - 1) : marks;
}

/* Writes the changes of whole words of marks, as many as a block has room for, and gives in *word the next. */
static bool write_changes_from(struct recording_file *file, uint32_t *word) {
    uint32_t count = 0, first = *word, words = (file->written.records + 63) / 64, at = first;
    for (; at < words && count + 64 <= 4096; at++)
        for (uint64_t marks = marks_at(file, at); marks != 0; marks &= marks - 1) {
            uint32_t number = 64 * at + (uint32_t)__builtin_ctzll(marks);
            const struct recorded *record = recording_at(file->recording, number);
            file->changes[count++] = (struct change){record->last, number, record->weight};
        }
    if (count > 0 && !write_bytes(file, CHANGES, file->changes, count * sizeof(struct change)))
        return false;
    for (uint32_t done = first; done < at; done++)
        file->recording->changed[done] &= ~marks_at(file, done);
    *word = at;
    return true;
}

static bool write_changes(struct recording_file *file) {
    for (uint32_t word = 0; word < (file->written.records + 63) / 64;)
        if (!write_changes_from(file, &word))
            return false;
    return true;
}

/* One of them may have been marked since it was new. */
static void forget_marks(struct recording *recording, uint32_t from, uint32_t until) {
    for (uint32_t number = from; number < until; number++)
        recording->changed[number / 64] &= ~(UINT64_C(1) << number % 64);
}

static bool write_records(struct recording_file *file) {
    struct recording *recording = file->recording;
    while (file->written.records < recording->count && has_room(file)) {
        uint32_t from = file->written.records, end = (from / RECORDING_BLOCK + 1) * RECORDING_BLOCK;
        uint32_t until = end < recording->count ? end : recording->count;
        if (!write_bytes(file, RECORDS, recording_at(recording, from), (until - from) * sizeof(struct recorded)))
            return false;
        forget_marks(recording, from, until);
        file->written.records = until;
    }
    return true;
}

/* --- appending -------------------------------------------------------------------------------- */

static bool is_all_written(const struct recording_file *file) {
    return file->written.nodes == file->recording->tree.count && file->written.records == file->recording->count;
}

static bool write_counters(struct recording_file *file, const struct recording_file_counters *counters, uint64_t now) {
    file->told = now;
    file->told_ticks = counters->ticks;
    return write_bytes(file, COUNTERS, counters->text, counters->size);
}

/* False: it failed. Changes are written again and again, until the records that are new are all written: they are few. */
static bool write_new(struct recording_file *file, const struct recording_file_counters *counters, uint64_t now) {
    uint64_t form = atomic_read(counter_own, &file->recording->form);
    return write_threads(file, counters->threads) && (form == file->written.form || write_again(file, form)) &&
           write_nodes(file) && write_changes(file) &&
           (file->written.nodes < file->recording->tree.count || write_records(file)) &&
           (!is_all_written(file) || write_counters(file, counters, now));
}

/* --- the whole again -------------------------------------------------------------------------- */

static bool copy_head(struct recording_file *file, int from) {
    char bytes[4096];
    for (uint64_t at = 0; at < file->head_size;) {
        uint64_t left = file->head_size - at;
        ssize_t got = pread(from, bytes, left < sizeof bytes ? left : sizeof bytes, (off_t)at);
        if (got <= 0)
            return failed(file, got < 0 ? errno : ESTALE);
        file->parts[0] = (struct iovec){.iov_base = bytes, .iov_len = (size_t)got};
        file->part_count = 1;
        if (!write_parts(file))
            return false;
        at += (uint64_t)got;
    }
    return true;
}

/* A file of the same owner and rights at PATH.part, which a process that was killed may have left. */
static bool make_part(struct recording_file *file, int from) {
    struct stat like, made;
    unlink(file->part.path);
    if (fstat(from, &like) != 0)
        return failed(file, errno);
    file->descriptor = open(file->part.path, O_RDWR | O_APPEND | O_CLOEXEC | O_CREAT | O_EXCL, like.st_mode & 0777);
    if (file->descriptor < 0)
        return failed(file, errno);
    if (fchmod(file->descriptor, like.st_mode & 0777) == 0 && fstat(file->descriptor, &made) == 0) {
        file->part.device = made.st_dev;
        file->part.inode = made.st_ino;
        if (copy_head(file, from))
            return true;
    } else {
        failed(file, errno);
    }
    unlink(file->part.path);
    return false;
}

/* From now on what is written goes to PATH.part, from the beginning. Where that cannot be, the file stays as it is until it has
 * doubled again. */
static void begin_part(struct recording_file *file) {
    int from = file->descriptor;
    file->whole_size = file->target.size;
    if (make_part(file, from)) {
        file->before = file->written;
        file->written = (struct progress){.form = file->written.form};
        file->part.size = file->head_size;
        close(from);
        return;
    }
    if (file->descriptor >= 0 && file->descriptor != from)
        close(file->descriptor);
    file->descriptor = from;
    file->error = 0;
}

/* The records' marks went to the other file: here they are all new. */
static void give_up_part(struct recording_file *file) {
    unlink(file->part.path);
    file->part.size = 0;
    file->written = file->before;
    file->written.form = UINT64_MAX;
}

/* What may lie at the path by now is not replaced where it is not the file. */
static bool end_part(struct recording_file *file) {
    struct stat present;
    if (lstat(file->target.path, &present) != 0)
        return failed(file, errno);
    if (present.st_dev != file->target.device || present.st_ino != file->target.inode)
        return failed(file, ESTALE);
    if (rename(file->part.path, file->target.path) != 0)
        return failed(file, errno);
    file->target.device = file->part.device;
    file->target.inode = file->part.inode;
    file->target.size = file->whole_size = file->part.size;
    file->part.size = 0;
    return true;
}

static bool is_overgrown(const struct recording_file *file) {
    return !is_making_part(file) && file->target.size > 2 * file->whole_size + GROWTH;
}

/* --- the calls -------------------------------------------------------------------------------- */

struct append {
    const struct recording_file_counters *counters;
    uint64_t now;
};

static bool append_open(struct recording_file *file, const void *what) {
    const struct append *append = what;
    if (is_overgrown(file))
        begin_part(file);
    if (!write_new(file, append->counters, append->now))
        return false;
    return !is_making_part(file) || !is_all_written(file) || end_part(file);
}

bool recording_file_is_due(const struct recording_file *file, uint64_t now) { return now >= file->due; }

static uint64_t pause_at(const struct recording_file *file, uint64_t now) {
    uint64_t pause = (now - file->recording->config.started) / 4;
    if (pause < RECORDING_FILE_PAUSE_LEAST)
        return RECORDING_FILE_PAUSE_LEAST;
    return pause < RECORDING_FILE_PAUSE_MOST ? pause : RECORDING_FILE_PAUSE_MOST;
}

/* Nothing that is worth a line has come. */
static bool is_quiet(const struct recording_file *file, const struct append *append) {
    return file->told != 0 && file->told_ticks == append->counters->ticks && is_all_written(file) &&
           file->written.threads == append->counters->threads && append->now - file->told < QUIET;
}

bool recording_file_append(struct recording_file *file, const struct recording_file_counters *counters, uint64_t now) {
    const struct append append = {.counters = counters, .now = now};
    file->due = now + pause_at(file, now);
    if (is_quiet(file, &append))
        return true;
    file->left = AT_ONCE;
    if (!with_target(file, append_open, &append)) {
        if (is_making_part(file))
            give_up_part(file);
        return false;
    }
    if (is_all_written(file))
        return true;
    file->due = now;
    return false;
}

/* Where another file was to take the place of the first and could not, the first goes on. */
bool recording_file_finish(struct recording_file *file, const struct recording_file_counters *counters) {
    bool had_part = true;
    file->told = 0;
    while (!recording_file_append(file, counters, file->due)) {
        if (recording_file_error(file) != 0 && !had_part)
            return false;
        had_part = is_making_part(file);
    }
    return true;
}

static bool end_open(struct recording_file *file, const void *what) {
    const struct iovec *end = what;
    file->ended = write_bytes(file, END, end->iov_base, end->iov_len);
    return file->ended;
}

bool recording_file_end(struct recording_file *file, const char *end, size_t size) {
    const struct iovec what = {.iov_base = (void *)(uintptr_t)end, .iov_len = size};
    return file->ended || with_target(file, end_open, &what);
}

uint64_t recording_file_failures(const struct recording_file *file) {
    return atomic_read(counter_snapshot, &file->failures);
}

int recording_file_error(const struct recording_file *file) {
    return (int)atomic_read(counter_snapshot, &file->last_error);
}

struct recording_file *recording_file_new(struct recording *recording, const struct recording_file_start *start,
                                          const struct recording_file_sources *sources) {
    struct recording_file *file = calloc(1, sizeof *file);
    if (file == NULL)
        return NULL;
    size_t length = strlen(start->path);
    file->recording = recording;
    file->sources = *sources;
    file->target.path = strdup(start->path);
    file->part.path = malloc(length + sizeof ".part");
    if (file->target.path == NULL || file->part.path == NULL || !recording_mark_changes(recording)) {
        recording_file_free(file);
        return NULL;
    }
    memcpy(file->part.path, start->path, length);
    memcpy(file->part.path + length, ".part", sizeof ".part");
    file->target.device = start->device;
    file->target.inode = start->inode;
    file->target.size = file->head_size = file->whole_size = start->size;
    file->written.form = atomic_read(counter_own, &recording->form);
    file->due = recording->config.started + RECORDING_FILE_PAUSE_LEAST;
    return file;
}

void recording_file_free(struct recording_file *file) {
    if (file == NULL)
        return;
    if (is_making_part(file))
        unlink(file->part.path);
    free(file->target.path);
    free(file->part.path);
    free(file);
}
