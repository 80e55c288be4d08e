/* Counts the machine instructions of a call, by the processor's trap flag: a measure of cost that repeats exactly. */
#define _GNU_SOURCE
#include <signal.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

static volatile long steps;

static void on_step(int signal) {
    (void)signal;
    steps++;
}

#define SET_TRAP_FLAG __asm__ volatile("pushfq; orq $0x100, (%%rsp); popfq" ::: "memory", "cc")
#define CLEAR_TRAP_FLAG __asm__ volatile("pushfq; andq $~0x100, (%%rsp); popfq" ::: "memory", "cc")

/* Built with -mno-red-zone: the pushes above write below the stack pointer. */
long count_instructions(int (*function)(void *, void *, long), void *first, void *second, long third) {
    struct sigaction ours = {.sa_handler = on_step}, before;
    sigaction(SIGTRAP, &ours, &before);
    steps = 0;
    SET_TRAP_FLAG;
    function(first, second, third);
    CLEAR_TRAP_FLAG;
    sigaction(SIGTRAP, &before, NULL);
    return steps;
}

/* Callbacks of a struct codes_death whose own cost is the least there is: each death is a generation, nothing has names. */
uint64_t generation;

uint64_t next_generation(const void *code) {
    (void)code;
    return ++generation;
}

bool no_names(const void *code, void *names) {
    (void)code;
    (void)names;
    return true;
}
