#define _GNU_SOURCE
#include <pthread.h>
#include <sys/resource.h>

#include "stack.h"

static int ready = 0;

// The Go runtime makes its threads with the default attributes, later than this.
__attribute__((constructor)) static void reserve(void) {
#ifdef __linux__
	struct rlimit l;
	pthread_attr_t a;
	int err;

	// The main thread's stack grows up to the limit of now.
	if (getrlimit(RLIMIT_STACK, &l) != 0) return;
	if (l.rlim_cur != RLIM_INFINITY && l.rlim_cur < STACK_BYTES) {
		l.rlim_cur = STACK_BYTES;
		if (setrlimit(RLIMIT_STACK, &l) != 0) return;
	}
	if (pthread_attr_init(&a) != 0) return;
	err = pthread_attr_setstacksize(&a, STACK_BYTES);
	if (err == 0) err = pthread_setattr_default_np(&a);
	pthread_attr_destroy(&a);
	ready = err == 0;
#else
	ready = 1;
#endif
}

int stack_ready(void) { return ready; }
