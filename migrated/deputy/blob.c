/* The deputy: what a hollowed process runs while its body is away. Position independent, no data, no libc.
   Rebuilt by build_blob() in tests/unit/test_deputy_blob.py; the bytes are committed in blob.py.
   Layout fixed by blob.ld: run() at 0, park right after it is found by its symbol. */
typedef unsigned long ulong;

static inline long call6(long number, long a, long b, long c, long d, long e, long f)
{
	long result;
	register long r10 __asm__("r10") = d, r8 __asm__("r8") = e, r9 __asm__("r9") = f;
	__asm__ volatile("syscall" : "=a"(result)
			 : "a"(number), "D"(a), "S"(b), "d"(c), "r"(r10), "r"(r8), "r"(r9)
			 : "rcx", "r11", "memory");
	return result;
}
#define CALL(n, a, b, c, d) call6(n, (long)(a), (long)(b), (long)(c), (long)(d), 0, 0)

enum { READ = 0, POLL = 7, RT_SIGACTION = 13, RT_SIGPROCMASK = 14, GETPID = 39, SENDTO = 44, RECVFROM = 45,
       PRCTL = 157, SETRLIMIT = 160, GETTID = 186, EXIT_GROUP = 231, TGKILL = 234 };
enum { POLLIN = 1, POLLOUT = 4, DONTWAIT_NOSIGNAL = 0x4040, SIGNAL_BYTES = 128 };
enum { OP_EXIT = 1, OP_DIE = 2, OP_STOP = 3, OP_PING = 4 };

struct action { ulong handler, flags, restorer, mask; };
struct watch { int fd; short events, revents; };
struct command { int op, argument; };

/* Take a signal with its default action: end, or stop and come back here after SIGCONT. */
static void take(int signo)
{
	struct action standard = {0, 0, 0, 0};
	ulong one = 1UL << (signo - 1);

	CALL(RT_SIGACTION, signo, &standard, 0, 8);
	CALL(TGKILL, CALL(GETPID, 0, 0, 0, 0), CALL(GETTID, 0, 0, 0, 0), signo, 0);
	CALL(RT_SIGPROCMASK, 1, &one, 0, 8);
	CALL(RT_SIGPROCMASK, 0, &one, 0, 8);
}

__attribute__((noreturn, section(".text.run"))) void run(long channel, long signals)
{
	ulong nothing[2] = {0, 0};
	struct watch watches[2];
	struct command command;
	char info[SIGNAL_BYTES];
	int unsent = 0;

	for (;;) {
		watches[0].fd = (int)channel;
		watches[0].events = unsent ? POLLIN | POLLOUT : POLLIN;
		watches[1].fd = unsent ? -1 : (int)signals;
		watches[1].events = POLLIN;
		watches[0].revents = watches[1].revents = 0;
		CALL(POLL, watches, 2, -1, 0);
		/* A full channel keeps one signal here and the others queued in the kernel: none is lost. */
		for (;;) {
			if (!unsent)
				unsent = CALL(READ, signals, info, SIGNAL_BYTES, 0) == SIGNAL_BYTES;
			if (!unsent || CALL(SENDTO, channel, info, SIGNAL_BYTES, DONTWAIT_NOSIGNAL) < 0)
				break;
			unsent = 0;
		}
		if (call6(RECVFROM, channel, (long)&command, 8, DONTWAIT_NOSIGNAL, 0, 0) != 8)
			continue;
		if (command.op == OP_EXIT)
			CALL(EXIT_GROUP, command.argument, 0, 0, 0);
		if (command.op == OP_DIE) {
			CALL(SETRLIMIT, 4, nothing, 0, 0); /* RLIMIT_CORE */
			CALL(PRCTL, 4, 0, 0, 0);           /* PR_SET_DUMPABLE */
			take(command.argument);
			CALL(EXIT_GROUP, 128 + command.argument, 0, 0, 0);
		}
		if (command.op == OP_STOP)
			take(command.argument);
		if (command.op == OP_PING)
			call6(SENDTO, channel, (long)&command, 8, DONTWAIT_NOSIGNAL, 0, 0);
	}
}

/* The other threads wait here, all signals blocked, without a stack. 34 is pause(2). */
__asm__(".section .text.run\n.balign 16\n.globl park\npark:\n\tmov $34, %eax\n\tsyscall\n\tjmp park\n");
