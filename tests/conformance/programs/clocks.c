/* Clocks and timers: time left is kept, clocks do not jump back, sleeps end when they should. */
#include "conformance.h"
#include <sys/epoll.h>
#include <sys/select.h>
#include <sys/timerfd.h>
#include <sys/times.h>
#include <poll.h>

static volatile sig_atomic_t fired, fired_value, fired_tid;
static void fire(int number, siginfo_t *info, void *context) {
    (void)number, (void)context;
    fired_value = info->si_value.sival_int, fired_tid = gettid();
    fired++;
}
static void on(int number) {
    struct sigaction action = {.sa_sigaction = fire, .sa_flags = SA_SIGINFO};
    CHECK(sigaction(number, &action, NULL) == 0);
}
static void sleep_until(double when) {
    struct timespec moment = {0, 2000000};
    while (seconds(CLOCK_MONOTONIC) < when) nanosleep(&moment, NULL);
}

ROW(monotonic, "", "CLOCK_MONOTONIC, _RAW, _BOOTTIME and REALTIME never jump back, and agree") {
    clockid_t clocks[] = {CLOCK_MONOTONIC, CLOCK_MONOTONIC_RAW, CLOCK_BOOTTIME, CLOCK_REALTIME, CLOCK_MONOTONIC_COARSE};
    double before[5], offset = seconds(CLOCK_REALTIME) - seconds(CLOCK_MONOTONIC);
    for (int i = 0; i < 5; i++) before[i] = seconds(clocks[i]);
    while (step("")) {
        for (int i = 0; i < 5; i++) {
            double now = seconds(clocks[i]);
            CHECK(now >= before[i]);
            CHECK(now < before[i] + 60);
            before[i] = now;
        }
        /* Monotonic time stands still for the moment of the move. */
        double drift = seconds(CLOCK_REALTIME) - seconds(CLOCK_MONOTONIC) - offset;
        if (drift > 10 || drift < -10) FAIL("real time ran %.3f s ahead of monotonic time", drift);
    }
}

ROW(cpu_time, "", "CPU time of process and thread never goes back and counts what was used away") {
    double before = seconds(CLOCK_PROCESS_CPUTIME_ID), thread = seconds(CLOCK_THREAD_CPUTIME_ID);
    while (step("")) {
        double now = seconds(CLOCK_PROCESS_CPUTIME_ID), of_thread = seconds(CLOCK_THREAD_CPUTIME_ID);
        if (now < before) FAIL("process CPU time went back from %.3f to %.3f s", before, now);
        if (of_thread < thread) FAIL("thread CPU time went back from %.3f to %.3f s", thread, of_thread);
        volatile double sum = 0;
        while (seconds(CLOCK_PROCESS_CPUTIME_ID) < now + 0.2) sum += 1;
        before = seconds(CLOCK_PROCESS_CPUTIME_ID), thread = seconds(CLOCK_THREAD_CPUTIME_ID);
    }
}

ROW(rusage, "", "getrusage and times never go back") {
    double before = 0;
    clock_t ticks = 0;
    while (1) {
        volatile double sum = 0;
        double until = seconds(CLOCK_PROCESS_CPUTIME_ID) + 0.2;
        while (seconds(CLOCK_PROCESS_CPUTIME_ID) < until) sum += 1;
        struct rusage usage;
        struct tms spent;
        getrusage(RUSAGE_SELF, &usage), times(&spent);
        double now = usage.ru_utime.tv_sec + usage.ru_utime.tv_usec / 1e6;
        if (now < before) FAIL("user time went back from %.3f to %.3f s", before, now);
        CHECK(spent.tms_utime >= ticks);
        before = now, ticks = spent.tms_utime;
        if (!step("")) break;
    }
}

ROW(alarm, "", "alarm(2): the seconds left are kept") {
    on(SIGALRM);
    while (calm()) {
        fired = 0;
        alarm(1000);
        say("step"), go_on();
        unsigned left = alarm(0);
        if (left < 940 || left > 1000) FAIL("%u of 1000 s left", left);
        CHECK(fired == 0);
        alarm(2);
        double start = seconds(CLOCK_MONOTONIC);
        while (!fired && seconds(CLOCK_MONOTONIC) < start + 20) usleep(1000);
        CHECK(fired == 1);
    }
}

ROW(alarm_runs_out, "", "an alarm that runs out while moving comes once") {
    on(SIGALRM);
    while (calm()) {
        fired = 0;
        struct itimerval soon = {{0, 0}, {0, 300000}};
        setitimer(ITIMER_REAL, &soon, NULL);
        double start = seconds(CLOCK_MONOTONIC);
        during("");
        sleep_until(start + 3);
        if (fired != 1) FAIL("it came %d times", fired);
        if (!calm()) break;
    }
}

ROW(itimers, "", "setitimer: interval timers of all three kinds go on") {
    on(SIGALRM), on(SIGVTALRM), on(SIGPROF);
    struct itimerval every = {{0, 20000}, {0, 20000}}, now;
    CHECK(setitimer(ITIMER_REAL, &every, NULL) == 0);
    CHECK(setitimer(ITIMER_VIRTUAL, &every, NULL) == 0);
    CHECK(setitimer(ITIMER_PROF, &every, NULL) == 0);
    while (step("")) {
        for (int which = 0; which < 3; which++) {
            CHECK(getitimer(which, &now) == 0);
            if (now.it_interval.tv_usec < 16000 || now.it_interval.tv_usec > 24000)
                FAIL("timer %d has an interval of %ld us", which, now.it_interval.tv_usec);
        }
        int before = fired;
        volatile double sum = 0;
        double start = seconds(CLOCK_MONOTONIC);
        while (fired < before + 6 && seconds(CLOCK_MONOTONIC) < start + 20) sum += 1;
        CHECK(fired >= before + 6);
    }
    signal(SIGALRM, SIG_IGN), signal(SIGVTALRM, SIG_IGN), signal(SIGPROF, SIG_IGN);
}

ROW(posix_timer, "", "POSIX timers keep number, value, interval and time left") {
    on(SIGRTMIN);
    timer_t one, two;
    struct sigevent event = {.sigev_notify = SIGEV_SIGNAL, .sigev_signo = SIGRTMIN, .sigev_value.sival_int = 77};
    CHECK(timer_create(CLOCK_MONOTONIC, &event, &one) == 0);
    CHECK(timer_create(CLOCK_REALTIME, &event, &two) == 0);
    struct itimerspec far = {{3, 0}, {1000, 0}}, soon = {{0, 0}, {0, 50000000}}, now;
    CHECK(timer_settime(one, 0, &far, NULL) == 0);
    while (step("")) {
        CHECK(timer_gettime(one, &now) == 0);
        if (now.it_value.tv_sec < 900 || now.it_value.tv_sec > 1000) FAIL("%ld of 1000 s left", now.it_value.tv_sec);
        CHECK(now.it_interval.tv_sec == 3);
        fired = 0;
        CHECK(timer_settime(two, 0, &soon, NULL) == 0);
        double start = seconds(CLOCK_MONOTONIC);
        while (!fired && seconds(CLOCK_MONOTONIC) < start + 20) usleep(1000);
        CHECK(fired == 1 && fired_value == 77);
    }
}

ROW(timer_cpu, "", "a POSIX timer on the CPU time of the process") {
    on(SIGRTMIN);
    timer_t one;
    struct sigevent event = {.sigev_notify = SIGEV_SIGNAL, .sigev_signo = SIGRTMIN, .sigev_value.sival_int = 5};
    CHECK(timer_create(CLOCK_PROCESS_CPUTIME_ID, &event, &one) == 0);
    struct itimerspec every = {{0, 20000000}, {0, 20000000}};
    CHECK(timer_settime(one, 0, &every, NULL) == 0);
    while (step("")) {
        int before = fired;
        volatile double sum = 0;
        double start = seconds(CLOCK_MONOTONIC);
        while (fired < before + 3 && seconds(CLOCK_MONOTONIC) < start + 20) sum += 1;
        CHECK(fired >= before + 3);
    }
}

ROW(timerfd, "", "a timerfd keeps its time left and goes off") {
    int far = timerfd_create(CLOCK_MONOTONIC, TFD_CLOEXEC), soon = timerfd_create(CLOCK_REALTIME, TFD_NONBLOCK);
    struct itimerspec thousand = {{7, 0}, {1000, 0}}, little = {{0, 0}, {0, 50000000}}, now;
    CHECK(timerfd_settime(far, 0, &thousand, NULL) == 0);
    while (step("")) {
        CHECK(timerfd_gettime(far, &now) == 0);
        if (now.it_value.tv_sec < 900 || now.it_value.tv_sec > 1000) FAIL("%ld of 1000 s left", now.it_value.tv_sec);
        CHECK(now.it_interval.tv_sec == 7);
        CHECK(timerfd_settime(soon, 0, &little, NULL) == 0);
        struct pollfd wait = {soon, POLLIN, 0};
        uint64_t count = 0;
        CHECK(poll(&wait, 1, 20000) == 1);
        CHECK(read(soon, &count, 8) == 8 && count == 1);
    }
}

static void sleeps(int (*act)(void), double longest) {
    while (calm()) {
        double start = seconds(CLOCK_MONOTONIC);
        during("");
        int got = act();
        double slept = seconds(CLOCK_MONOTONIC) - start;
        if (got != 0) FAIL("it gave %d (errno %d) after %.2f s", got, errno, slept);
        if (slept < 2.99) FAIL("it ended after %.2f s instead of 3", slept);
        if (slept > longest) FAIL("it lasted %.2f s instead of 3", slept);
    }
}
static int by_nanosleep(void) { return nanosleep(&(struct timespec){3, 0}, NULL); }
static int by_sleep(void) { return sleep(3); }
static int by_poll(void) { return poll(NULL, 0, 3000); }
static int by_select(void) { return select(0, NULL, NULL, NULL, &(struct timeval){3, 0}); }
static int by_epoll(void) {
    struct epoll_event event;
    int fd = epoll_create1(0), got = epoll_wait(fd, &event, 1, 3000);
    return close(fd), got;
}
ROW(nanosleep, "", "nanosleep in progress ends neither early nor with an error") { sleeps(by_nanosleep, 30); }
ROW(sleep, "", "sleep(3) in progress ends at its time") { sleeps(by_sleep, 4.5); }
ROW(poll_timeout, "", "poll with a timeout, in progress, ends neither early nor with an error") { sleeps(by_poll, 30); }
ROW(select_timeout, "", "select with a timeout, in progress, ends at its time") { sleeps(by_select, 4.5); }
ROW(epoll_timeout, "", "epoll_wait with a timeout, in progress, ends neither early nor with an error") { sleeps(by_epoll, 30); }

ROW(clock_nanosleep, "", "clock_nanosleep until an absolute time, in progress") {
    while (calm()) {
        struct timespec until;
        clock_gettime(CLOCK_MONOTONIC, &until);
        until.tv_sec += 3;
        double end = until.tv_sec + until.tv_nsec / 1e9;
        during("");
        int got = clock_nanosleep(CLOCK_MONOTONIC, TIMER_ABSTIME, &until, NULL);
        double late = seconds(CLOCK_MONOTONIC) - end;
        if (got != 0) FAIL("ended with %d, %.2f s before its time", got, -late);
        if (late < 0 || late > 1.5) FAIL("woke %.2f s after its time", late);
    }
}
