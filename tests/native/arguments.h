/* What stands in for syscall(2) does not know how many arguments a call has: it passes on six, the most that there are. */
#ifndef SPPROF_TESTS_ARGUMENTS_H
#define SPPROF_TESTS_ARGUMENTS_H

#include <stdarg.h>

static inline void take_arguments(long arguments[6], va_list list) {
    for (int i = 0; i < 6; i++)
        arguments[i] = va_arg(list, long);
}

#endif
