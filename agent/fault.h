/* Where a test ends or stops the agent: named points of what must survive a kill -9. Without
 * -DLT_FAULT_POINTS, which only the test program limetree-agent-faults is built with, a point is nothing. */
#ifndef LT_AGENT_FAULT_H
#define LT_AGENT_FAULT_H

/* X(NAME, "name"), in the order in which an operation comes by. `limetree-agent-faults --list-faults` prints
 * them, a line each. LT_FAULT=NAME[:N][:pause] ends the process with 137 at the N-th time (1), or stops it
 * there (SIGSTOP) for the test to kill. */
#define LT_FAULT_POINT_TABLE(X)                                                                              \
    X(SEAL_COUNTER_READ, "seal-counter-read") /* of a commit */                                              \
    X(SEAL_KEY_MADE, "seal-key-made")                                                                        \
    X(SEAL_NEXT_WRITTEN, "seal-next-written")                                                                \
    X(SEAL_NEXT_SYNCED, "seal-next-synced")                                                                  \
    X(SEAL_DIR_SYNCED, "seal-dir-synced")                                                                    \
    X(SEAL_INCREMENTED, "seal-incremented")                                                                  \
    X(SEAL_RENAMED, "seal-renamed")                                                                          \
    X(SEAL_COMMITTED, "seal-committed")                                                                      \
    X(SEAL_BURNT, "seal-burnt") /* of a reseal */                                                            \
    X(SEAL_GROWN, "seal-grown")                                                                              \
    X(SEAL_WRAPPED, "seal-wrapped")                                                                          \
    X(SEAL_CLOSED, "seal-closed")                                                                            \
    X(SEAL_COUNTER_DEFINED, "seal-counter-defined") /* of a create */                                        \
    X(SEAL_OPENED, "seal-opened")                                                                            \
    X(PROVISION_MADE, "provision-made")                                                                      \
    X(PROVISION_ESCROWED, "provision-escrowed")                                                              \
    X(PROVISION_COMMITTED, "provision-committed")                                                            \
    X(PROVISION_INSTALLED, "provision-installed")                                                            \
    X(START_CHECKED, "start-checked")                                                                        \
    X(START_SECRET, "start-secret") /* the key is in libvirtd */                                             \
    X(START_CREATED, "start-created")                                                                        \
    X(START_DROPPED, "start-dropped")                                                                        \
    X(HOOK_PREPARE, "hook-prepare") /* the key is in libvirtd, and no answer yet */                          \
    X(HOOK_STARTED, "hook-started")

enum lt_fault_point {
#define X(name, text) LT_FAULT_##name,
    LT_FAULT_POINT_TABLE(X)
#undef X
        LT_FAULT_POINTS_COUNT
};

#ifdef LT_FAULT_POINTS
void lt_fault_here(enum lt_fault_point p);
#define LT_FAULT_AT(name) lt_fault_here(LT_FAULT_##name)
#else
#define LT_FAULT_AT(name) ((void)0)
#endif

#endif
