/* What this host's agent was told to define: STATE_DIR/domains, of mode 0700, with UUID.xml (0600: libvirt's
 * own form of it, passwords included), UUID.autostart where the agent starts it by itself, and UUID.making
 * from before a vTPM's entry is committed until its state is in place. */
#ifndef LT_AGENT_DEFINITIONS_H
#define LT_AGENT_DEFINITIONS_H

#include "common/ids.h"

struct lt_definitions {
    char *dir; /* owned */
};

int lt_definitions_open(const char *state_dir, struct lt_definitions *out, struct lt_err *e) LT_MUST_CHECK;
void lt_definitions_close(struct lt_definitions *d);

int lt_definitions_put(const struct lt_definitions *d, const uint8_t uuid[LT_UUID], const char *xml,
                       bool autostart, struct lt_err *e) LT_MUST_CHECK;
/* *xml: free. LT_E_NOT_FOUND. */
int lt_definitions_get(const struct lt_definitions *d, const uint8_t uuid[LT_UUID], char **xml,
                       struct lt_err *e) LT_MUST_CHECK;
bool lt_definitions_autostart(const struct lt_definitions *d, const uint8_t uuid[LT_UUID]);
/* Those that the agent is to start, at most max. */
size_t lt_definitions_all_autostart(const struct lt_definitions *d, uint8_t (*uuids)[LT_UUID], size_t max);

/* A vTPM is being made: an entry without a state is then no loss. Both are on the disk when they return. */
int lt_definitions_begin_making(const struct lt_definitions *d, const uint8_t uuid[LT_UUID],
                                struct lt_err *e) LT_MUST_CHECK;
bool lt_definitions_making(const struct lt_definitions *d, const uint8_t uuid[LT_UUID]);
int lt_definitions_end_making(const struct lt_definitions *d, const uint8_t uuid[LT_UUID],
                              struct lt_err *e) LT_MUST_CHECK;

#endif
