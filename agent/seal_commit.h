/* Opening and committing: docs/sealing.md section 3's order of operations (tests/model/order.txt) over the
 * tables of agent/seal_ops.h. No thread, no lock, no memory of its own between calls. */
#ifndef LT_AGENT_SEAL_COMMIT_H
#define LT_AGENT_SEAL_COMMIT_H

#include "agent/seal_ops.h"
#include "vtpm/seal/change.h"
#include "vtpm/seal/vaultfile.h"

/* What one file of the vault says. The entries are in locked memory (agent/seal_memory.h): copies too. */
struct lt_agent_seal_content {
    uint64_t generation; /* 0: none */
    enum lt_seal_key_kind kind;
    struct lt_seal_key_states states;
    uint32_t count;
    struct lt_seal_entry *entries; /* owned, ascending by uuid */
    size_t bytes;                  /* of that memory */
};
/* Room for that many entries, all zeros. */
int lt_agent_seal_content_new(uint32_t count, struct lt_agent_seal_content *out,
                              struct lt_err *e) LT_MUST_CHECK;
/* of, with room for `more` entries behind its own. *out: _free, also on failure. */
int lt_agent_seal_content_copy(const struct lt_agent_seal_content *of, uint32_t more,
                               struct lt_agent_seal_content *out, struct lt_err *e) LT_MUST_CHECK;
void lt_agent_seal_content_free(struct lt_agent_seal_content *c);
/* The place of that entry; count: there is none. */
uint32_t lt_agent_seal_content_find(const struct lt_agent_seal_content *c, const uint8_t uuid[LT_UUID]);

/* Which of the states the chip is in; count: in none. */
int lt_agent_seal_commit_present(const struct lt_agent_seal_ops *o, const struct lt_seal_key_states *s,
                                 unsigned *which, struct lt_err *e) LT_MUST_CHECK;

/* The committed file, opened by the chip. What failed is a state of agent/seal.h (LT_E_VAULT_…,
 * LT_E_COUNTER_LOST, LT_E_TPM_NO_HMAC); any other code is trouble. *out: _free; generation, kind and states
 * are set as far as they were read, also on failure. */
int lt_agent_seal_commit_open(const struct lt_agent_seal_ops *o, const uint8_t host_ek_digest[LT_SHA256],
                              struct lt_agent_seal_content *out, struct lt_err *e) LT_MUST_CHECK;

/* Writes c, which has the generation that is committed now (or the counter's value, for the first vault), as
 * the next one. 0: it is committed, c->generation is its generation. After any failure the vault has to be
 * opened anew: which of the two is committed is not known. LT_E_USAGE: the chip is in none of c's states. */
int lt_agent_seal_commit(const struct lt_agent_seal_ops *o, const uint8_t host_ek_digest[LT_SHA256],
                         struct lt_agent_seal_content *c, struct lt_err *e) LT_MUST_CHECK;

#endif
