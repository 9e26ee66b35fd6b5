/* The deputy's code: what the original process runs while its body is away.
 *
 * Position independent, no library, no data.  `deputy` waits on its end of a SEQPACKET pair and on a signalfd of all
 * signals; it sends each signal's siginfo and obeys {op, argument}.  `park` is where further threads wait.
 * Built by tests/unit/test_deputy_blob.py's recipe; the bytes are in blob.py.   x86-64 system call numbers. */
typedef unsigned long ul;

static inline long call(long n, long a, long b, long c, long d)
{
	long result;
	register long r10 __asm__("r10") = d;
	register long r8 __asm__("r8") = 0;
	register long r9 __asm__("r9") = 0;
	__asm__ volatile("syscall" : "=a"(result) : "a"(n), "D"(a), "S"(b), "d"(c), "r"(r10), "r"(r8), "r"(r9)
			 : "rcx", "r11", "memory");
	return result;
}

enum { READ = 0, POLL = 7, RT_SIGACTION = 13, RT_SIGPROCMASK = 14, GETPID = 39, SENDTO = 44, KILL = 62, PRCTL = 157,
	SETRLIMIT = 160, EXIT_GROUP = 231, PPOLL = 271 };
enum { BLOCK = 0, UNBLOCK = 1, SETMASK = 2, DONTWAIT_NOSIGNAL = 0x4040, PR_SET_DUMPABLE = 4, RLIMIT_CORE = 4 };
enum { OP_EXIT = 1, OP_DIE = 2, OP_STOP = 3, OP_PING = 4 };

struct action { ul handler, flags, restorer, mask; };
struct watched { int fd; short events, revents; };
struct order { int op, argument; };

/* Take `signo` with its default action: ends or stops the process right here. */
static void take(int signo)
{
	struct action act = { 0, 0, 0, 0 };
	ul one = 1UL << (signo - 1);
	call(RT_SIGACTION, signo, (long)&act, 0, 8);
	call(KILL, call(GETPID, 0, 0, 0, 0), signo, 0, 0);
	call(RT_SIGPROCMASK, UNBLOCK, (long)&one, 0, 8);
	call(RT_SIGPROCMASK, BLOCK, (long)&one, 0, 8);
}

__attribute__((noreturn, section(".text.a"))) void deputy(long channel, long signals)
{
	ul limit[2] = { 0, 0 };
	struct watched w[2];
	char info[128];
	struct order o;
	for (;;) {
		w[0].fd = channel; w[0].events = 1; w[0].revents = 0;
		w[1].fd = signals; w[1].events = 1; w[1].revents = 0;
		call(POLL, (long)w, 2, -1, 0);
		if (w[1].revents & 1)
			while (call(READ, signals, (long)info, 128, 0) == 128)
				call(SENDTO, channel, (long)info, 128, DONTWAIT_NOSIGNAL);
		if (!(w[0].revents & 1) || call(READ, channel, (long)&o, 8, 0) != 8)
			continue;
		if (o.op == OP_EXIT)
			call(EXIT_GROUP, o.argument, 0, 0, 0);
		if (o.op == OP_DIE && o.argument > 0 && o.argument < 65) {
			call(SETRLIMIT, RLIMIT_CORE, (long)limit, 0, 0);
			call(PRCTL, PR_SET_DUMPABLE, 0, 0, 0);
			take(o.argument);
			call(EXIT_GROUP, 128 + o.argument, 0, 0, 0);
		}
		if (o.op == OP_STOP && o.argument > 0 && o.argument < 65)
			take(o.argument);
		if (o.op == OP_PING) {
			info[0] = 'A';
			call(SENDTO, channel, (long)info, 1, DONTWAIT_NOSIGNAL);
		}
	}
}

__attribute__((noreturn, section(".text.b"))) void park(void)
{
	for (;;)
		call(PPOLL, 0, 0, 0, 0);
}

__attribute__((noreturn, naked, section(".text.c"))) void site(void)
{
	__asm__ volatile("syscall; hlt");
}
