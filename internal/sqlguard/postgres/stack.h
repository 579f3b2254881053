// STACK_BYTES is the stack that every thread has for the parser; see maxChain.
#define STACK_BYTES (8 << 20)

// stack_ready says whether threads have it.
int stack_ready(void);
