/* What the test programs have in common: a call that must go well, one that must fail, and this program run again in another role. */
#ifndef CHECK_H
#define CHECK_H

#define _POSIX_C_SOURCE 200809L
#include <sharehold.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/types.h>
#include <sys/wait.h>
#include <unistd.h>

#define FAIL(...)                                                                                                      \
    do {                                                                                                               \
        fprintf(stderr, "%s:%d: ", __FILE__, __LINE__);                                                                \
        fprintf(stderr, __VA_ARGS__);                                                                                  \
        fputc('\n', stderr);                                                                                           \
        exit(1);                                                                                                       \
    } while (0)

#define OK(call)                                                                                                       \
    do {                                                                                                               \
        sh_status status_ = (call);                                                                                    \
        if (status_ != SH_OK) FAIL("%s: %u: %s", #call, (unsigned)status_, sh_last_error());                           \
    } while (0)

#define REFUSED(call, wanted)                                                                                          \
    do {                                                                                                               \
        sh_status status_ = (call);                                                                                    \
        if (status_ != (wanted) || !*sh_last_error())                                                                  \
            FAIL("%s: %u instead of %s: %s", #call, (unsigned)status_, #wanted, sh_last_error());                      \
    } while (0)

#define HOLDS(condition)                                                                                               \
    do {                                                                                                               \
        if (!(condition)) FAIL("%s does not hold", #condition);                                                        \
    } while (0)

static inline sh_options options_of(const char *name) {
    sh_options options;
    memset(&options, 0, sizeof options);
    options.size = sizeof options;
    options.name = name;
    options.capacity = 16 << 20;
    return options;
}

/* Runs this program with another role. It ends with this one, also when that fails. */
static inline pid_t run_again(const char *program, const char *role, const char *argument) {
    pid_t child = fork();
    if (child == 0) {
        prctl(PR_SET_PDEATHSIG, SIGKILL);
        execl(program, program, role, argument, (char *)NULL);
        _exit(127);
    }
    if (child < 0) FAIL("no process can be started");
    return child;
}

static inline int ended_with(pid_t child) {
    int status;
    if (waitpid(child, &status, 0) != child) FAIL("there is no such child");
    return WIFEXITED(status) ? WEXITSTATUS(status) : -1;
}

#endif
