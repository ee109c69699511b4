/* Keys that libvirtd has now: lent while a domain starts, taken back as soon as it did, failed to, or took
 * too long. What cannot be taken back (libvirtd is away) is tried again until it is; and what an agent that
 * died had lent is taken back before anything else is lent. */
#ifndef LT_AGENT_LENT_H
#define LT_AGENT_LENT_H

#include "vtpm/seal/entry.h"

#define LT_LENT_MAX 256          /* domains that start at once */
#define LT_LENT_START_MS 120000u /* a start that takes longer gets its key no more */
#define LT_LENT_AGAIN_MS 2000u   /* until a key is asked back once more */

struct lt_lent;

/* uri: libvirt's, as in vtpm/secrets.h; copied. */
int lt_lent_start(const char *uri, struct lt_lent **out, struct lt_err *e) LT_MUST_CHECK;
/* Takes back what is lent, if libvirtd answers. NULL is fine. */
void lt_lent_stop(struct lt_lent *l);

/* LT_E_BUSY: what an earlier agent lent is not taken back yet, or LT_LENT_MAX are lent. After a failure
 * libvirtd does not have it, or it is taken back soon. */
int lt_lent_give(struct lt_lent *l, const uint8_t uuid[LT_UUID], const char key[LT_SEAL_KEY],
                 struct lt_err *e) LT_MUST_CHECK;
/* Nothing is lent to that domain: fine. */
void lt_lent_take(struct lt_lent *l, const uint8_t uuid[LT_UUID]);

#endif
