/* What every C program of the suite shares: its rows, and the words it exchanges with the runner.
 *
 * `program --list` prints name, options and property of each row; `program NAME` runs one. Words are described in
 * tests/conformance/conversation.py. A row ends by returning (all held) or by FAIL.
 */
#ifndef CONFORMANCE_H
#define CONFORMANCE_H
#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/time.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

struct row {
    const char *name, *options, *property;
    void (*run)(void);
    struct row *next;
};
static struct row *rows, **rows_end = &rows;

#define ROW(NAME, OPTIONS, PROPERTY)                                                     \
    static void row_##NAME(void);                                                        \
    static struct row record_##NAME = {#NAME, OPTIONS, PROPERTY, row_##NAME, NULL};      \
    __attribute__((constructor)) static void enter_##NAME(void) {                        \
        *rows_end = &record_##NAME;                                                      \
        rows_end = &record_##NAME.next;                                                  \
    }                                                                                    \
    static void row_##NAME(void)

static void say(const char *format, ...) {
    char line[512];
    va_list arguments;
    va_start(arguments, format);
    int length = vsnprintf(line, sizeof line - 1, format, arguments);
    va_end(arguments);
    line[length++] = '\n';
    if (write(1, line, length) != length) _exit(99);
}

#define FAIL(...) (say("fail " __VA_ARGS__), _exit(1))
#define CHECK(CONDITION) \
    ((CONDITION) ? (void)0 : (say("fail line %d: %s (errno %d)", __LINE__, #CONDITION, errno), _exit(1)))

/* Whether the runner wants another turn. Restarts when a signal comes in between. */
static int go_on(void) {
    char line[64];
    size_t length = 0;
    while (length < sizeof line) {
        ssize_t got = read(0, line + length, 1);
        if (got < 0 && errno == EINTR) continue;
        if (got != 1) _exit(98);
        if (line[length++] == '\n') break;
    }
    return strncmp(line, "go", 2) == 0;
}

/* Here it may be moved; afterwards the runner executes `command` in a shell at home ("" for none). */
__attribute__((unused)) static int step(const char *command) {
    say("step %s", command);
    return go_on();
}
/* Another turn without a move. */
__attribute__((unused)) static int calm(void) {
    say("calm");
    return go_on();
}
/* It will be moved while it does what comes next; then the runner executes `command` in a shell at home. */
__attribute__((unused)) static void during(const char *command) { say("during %s", command); }

__attribute__((unused)) static double seconds(clockid_t clock) {
    struct timespec now;
    clock_gettime(clock, &now);
    return now.tv_sec + now.tv_nsec / 1e9;
}

int main(int argc, char **argv) {
    for (struct row *row = rows; row; row = row->next) {
        if (argc > 1 && strcmp(argv[1], "--list") == 0) {
            printf("%s\t%s\t%s\n", row->name, row->options, row->property);
        } else if (argc > 1 && strcmp(argv[1], row->name) == 0) {
            say("ready %d", getpid());
            row->run();
            say("pass");
            return 0;
        }
    }
    return argc > 1 && strcmp(argv[1], "--list") == 0 ? 0 : 2;
}
#endif
