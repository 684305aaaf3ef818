/* Sets the clock of whoever loads it off by $CLOCK_OFFSET seconds: what a machine whose clock is wrong sees. */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <stdlib.h>
#include <time.h>

int clock_gettime(clockid_t clock, struct timespec *now)
{
    static int (*real)(clockid_t, struct timespec *);
    if (!real)
        real = (int (*)(clockid_t, struct timespec *))dlsym(RTLD_NEXT, "clock_gettime");
    int failed = real(clock, now);
    const char *offset = getenv("CLOCK_OFFSET");
    if (!failed && clock == CLOCK_REALTIME && offset)
        now->tv_sec += atol(offset);
    return failed;
}
