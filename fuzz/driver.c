/* Feeds a target. What feeds it is chosen when this is compiled:
 *
 *   FUZZ_AFL        AFL++: one process for many inputs, which are in shared memory (afl-clang-fast)
 *   FUZZ_LIBFUZZER  libFuzzer, or anything that calls LLVMFuzzerTestOneInput (clang -fsanitize=fuzzer)
 *   neither         replay: `program FILE-OR-FOLDER...` tries each file once and says what it came to
 *
 * A replay prints `NAME: outcomes` for each file, before the colon when it begins, so that the last line names the
 * input of a crash; then one line with the number of files and every outcome reached. Exit status 0: every file was
 * tried and nothing failed. 2: wrong arguments, or nothing to try. A failed oracle aborts. With --rounds=N all files are
 * tried N times, unsaid, and the rate is printed instead. */
#define _GNU_SOURCE /* scandir, alphasort, asprintf */
#include "target.h"

#include <dirent.h>
#include <errno.h>
#include <sched.h>
#include <signal.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

static uint32_t reached; /* by the present input: a bit for each reason */
#define NOTES 16
static const char *notes[NOTES]; /* on the present input, each word once */
static unsigned note_count;
static const char *present = ""; /* the file that is tried, where there is one */

void fuzz_reach(enum spprof_reason reason) { reached |= 1u << reason; }

void fuzz_note(const char *word) {
    for (unsigned i = 0; i < note_count; i++)
        if (strcmp(notes[i], word) == 0)
            return;
    if (note_count == NOTES)
        fuzz_fail("more than %d notes on an input", NOTES);
    notes[note_count++] = word;
}

void fuzz_fail(const char *format, ...) {
    va_list arguments;
    va_start(arguments, format);
    fflush(stdout);
    fprintf(stderr, "\nfuzz: %s: ", fuzz_name);
    vfprintf(stderr, format, arguments);
    if (*present != '\0')
        fprintf(stderr, "\nfuzz: %s: repeat with: fuzz/replay %s %s", fuzz_name, fuzz_name, present);
    fputc('\n', stderr);
    va_end(arguments);
    abort();
}

static void try_input(const uint8_t *bytes, size_t count) {
    reached = 0;
    note_count = 0;
    fuzz_one(bytes, count < fuzz_largest ? count : fuzz_largest);
}

#if defined(FUZZ_AFL)

__AFL_FUZZ_INIT();

extern uint8_t *__afl_area_ptr; /* of AFL++'s runtime: the edges of the present input */

/* Where AFL++ asks for a run, and where it is told of it: the fork server's, by AFL++'s documents. */
enum { ASKED = 198, TOLD = 199 };

enum { INPUTS_OF_A_PROCESS = 100000, PATIENCE = 300 /* seconds of its CPU time */ };

/* AFL++'s fork server waits for the end of the child that it has made, and meanwhile uses no pipe. So the child answers
 * the fuzzer itself, from its second input on: with the status of the run that is over, a zero, and with who would have
 * to be ended for the next one. The fork server is back when this process has come to its end, and tells of that. In
 * AFL++'s own loop each input takes a stop, which the fork server has to be told of, and a signal to go on.
 *
 * There must be one answer to each request. So what ends a run that takes too long has to be a signal that can be heard
 * out: AFL_KILL_SIGNAL must be SIGTERM. Without that the loop is AFL++'s. */
static volatile sig_atomic_t answering; /* from before the answer until after the next request */
static volatile sig_atomic_t late;      /* the signal came meanwhile: for which of the two runs, the request tells */

static void on_end(int signal) {
    (void)signal;
    if (!answering)
        _exit(0); /* the fork server answers */
    late = 1;
}

/* The fork server says who its child is once it has made it, which may be after the child's first run. An answer must not
 * come before that: the fork server has said it when it sleeps. */
static void await_fork_server(void) {
    char path[32], line[512] = "";
    snprintf(path, sizeof path, "/proc/%d/stat", (int)getppid());
    const char *state = NULL;
    while (state == NULL || strncmp(state, ") S", 3) != 0) {
        FILE *file = fopen(path, "r");
        if (file == NULL)
            return; /* it is gone, and so is who would read an answer */
        state = fgets(line, sizeof line, file) != NULL ? strrchr(line, ')') : NULL;
        fclose(file);
        sched_yield();
    }
}

/* False: the fuzzer is gone. */
static bool next_input(int asked, int told) {
    const int32_t answer[] = {0, getpid()};
    int32_t former_was_late;
    ssize_t got;
    answering = 1;
    if (write(told, answer, sizeof answer) != sizeof answer)
        return false;
    do
        got = read(asked, &former_was_late, sizeof former_was_late);
    while (got < 0 && errno == EINTR);
    answering = 0;
    if (late && !former_was_late)
        _exit(0);
    late = 0;
    return got == sizeof former_was_late;
}

static void answer_the_fuzzer(const uint8_t *bytes, int asked, int told) {
    signal(SIGTERM, on_end);
    await_fork_server();
    /* Ends even a run that hangs with its signals blocked. */
    setrlimit(RLIMIT_CPU, &(struct rlimit){.rlim_cur = PATIENCE, .rlim_max = PATIENCE});
    int left = INPUTS_OF_A_PROCESS;
    do {
        __afl_area_ptr[0] = 1; /* as in AFL++'s loop: a run without any edge is taken for a fault of the program */
        try_input(bytes, (size_t)__AFL_FUZZ_TESTCASE_LEN);
    } while (--left > 0 && next_input(asked, told));
}

int main(void) {
    fuzz_set_up();
    int asked = dup(ASKED), told = dup(TOLD); /* the runtime closes its own in the child; -1: nobody asks */
    __AFL_INIT();
    const uint8_t *bytes = __AFL_FUZZ_TESTCASE_BUF;
    const char *end = getenv("AFL_KILL_SIGNAL");
    if (asked >= 0 && end != NULL && atoi(end) == SIGTERM)
        answer_the_fuzzer(bytes, asked, told);
    else
        while (__AFL_LOOP(INPUTS_OF_A_PROCESS))
            try_input(bytes, (size_t)__AFL_FUZZ_TESTCASE_LEN);
    return 0;
}

#elif defined(FUZZ_LIBFUZZER)

int LLVMFuzzerInitialize(int *count, char ***arguments);
int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t count);

int LLVMFuzzerInitialize(int *count, char ***arguments) {
    (void)count, (void)arguments;
    fuzz_set_up();
    return 0;
}

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t count) {
    try_input(bytes, count);
    return 0;
}

#else

static _Noreturn void refuse(const char *format, const char *what) {
    fflush(stdout);
    fprintf(stderr, "fuzz: %s: ", fuzz_name);
    fprintf(stderr, format, what, strerror(errno));
    fputc('\n', stderr);
    exit(2);
}

struct input {
    char *path;
    uint8_t *bytes;
    size_t count;
};

static struct input *inputs;
static size_t input_count, input_room;

static void read_file(const char *path) {
    FILE *file = fopen(path, "rb");
    if (file == NULL)
        refuse("%s: cannot be read (%s); name a file or a folder of inputs", path);
    if (input_count == input_room) {
        input_room = input_room ? 2 * input_room : 64;
        inputs = realloc(inputs, input_room * sizeof *inputs);
    }
    struct input *input = inputs ? &inputs[input_count++] : NULL;
    uint8_t *bytes = malloc(fuzz_largest + 1);
    if (input == NULL || bytes == NULL)
        refuse("%s: no memory (%s)", path);
    *input = (struct input){.path = strdup(path), .bytes = bytes, .count = fread(bytes, 1, fuzz_largest, file)};
    /* In a block of its own size, so that a sanitizer sees a read past its end. */
    input->bytes = realloc(bytes, input->count + (input->count == 0));
    fclose(file);
}

/* AFL++ keeps a README beside what it finds, and its state in files with a dot. */
static int is_input(const struct dirent *entry) {
    return entry->d_name[0] != '.' && strncmp(entry->d_name, "README", 6) != 0;
}

static void read_tree(const char *path) {
    struct stat status;
    if (stat(path, &status) != 0)
        refuse("%s: cannot be read (%s); name a file or a folder of inputs", path);
    if (!S_ISDIR(status.st_mode)) {
        read_file(path);
        return;
    }
    struct dirent **entries;
    int count = scandir(path, &entries, is_input, alphasort);
    if (count < 0)
        refuse("%s: cannot be read (%s)", path);
    for (int i = 0; i < count; i++) {
        char *inner;
        if (asprintf(&inner, "%s/%s", path, entries[i]->d_name) < 0)
            refuse("%s: no memory (%s)", path);
        read_tree(inner);
        free(inner);
        free(entries[i]);
    }
    free(entries);
}

static void print_outcome(uint32_t reasons, unsigned count) {
    for (unsigned i = 0; i < SPPROF_REASONS; i++)
        if (reasons >> i & 1)
            printf(" %s", spprof_reason_name(i));
    for (unsigned i = 0; i < count; i++)
        printf(" %s", notes[i]);
    puts(reasons == 0 && count == 0 ? " nothing" : "");
}

static uint32_t replay(void) {
    uint32_t all = 0;
    for (size_t i = 0; i < input_count; i++) {
        present = inputs[i].path;
        printf("%s:", present);
        fflush(stdout);
        try_input(inputs[i].bytes, inputs[i].count);
        print_outcome(reached, note_count);
        all |= reached;
    }
    return all;
}

/* Of this process's own time, which other work on the machine does not lengthen. */
static double seconds_now(void) {
    struct timespec time;
    clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &time);
    return (double)time.tv_sec + 1e-9 * (double)time.tv_nsec;
}

static void measure(unsigned long rounds) {
    double start = seconds_now();
    for (unsigned long round = 0; round < rounds; round++)
        for (size_t i = 0; i < input_count; i++)
            try_input(inputs[i].bytes, inputs[i].count);
    double tried = (double)rounds * (double)input_count;
    printf("fuzz: %s: %.0f tried, %.0f a second of one core\n", fuzz_name, tried, tried / (seconds_now() - start));
}

int main(int count, char **arguments) {
    unsigned long rounds = 0;
    for (int i = 1; i < count; i++) {
        if (strncmp(arguments[i], "--rounds=", 9) == 0)
            rounds = strtoul(arguments[i] + 9, NULL, 10);
        else
            read_tree(arguments[i]);
    }
    if (input_count == 0)
        refuse("there is nothing to try; usage: %s [--rounds=N] FILE-OR-FOLDER...", arguments[0]);
    fuzz_set_up();
    if (rounds != 0) {
        measure(rounds);
    } else {
        uint32_t all = replay();
        printf("fuzz: %s: %zu files, reached:", fuzz_name, input_count);
        print_outcome(all, 0);
    }
    for (size_t i = 0; i < input_count; i++) {
        free(inputs[i].path);
        free(inputs[i].bytes);
    }
    free(inputs);
    return 0;
}

#endif
