package postgres

// #include "stack.h"
import "C"

// stackReady says whether every thread has the stack that maxChain counts on, whatever the limits that the
// process was started with: under `ulimit -s unlimited` threads would have 2 MiB, which a statement of 16 kB
// can overflow.
func stackReady() bool { return C.stack_ready() != 0 }
