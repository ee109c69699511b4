/* OPENERS (docs/sealing.md section 2): every platform state and key that a sealed vTPM's secrets were ever
 * open to. Append-only: entries are never removed or moved; `closed` alone changes, once, from 0 to 1. A
 * state that is opened again stands there again: else it could be opened and closed between two looks, and
 * nobody would see it. Bytes, no judgement: that is appraisal/checks/opened.h.
 *
 *   OPENERS = "LT1:OPENERS" (padded with zeros to 16) | u16 k | k x ( u8 kind | u8 closed | u16 len | body )
 *     1: host_ek_digest[32] | STATE   2, 4: H(SubjectPublicKeyInfo)[32]
 *     3: the sender's host_ek_digest[32] | digest of Name(IK)[32] */
#ifndef LT_RESIDENCY_OPENERS_H
#define LT_RESIDENCY_OPENERS_H

#include "common/alloc.h"
#include "common/json.h"
#include "common/limits.h"
#include "tpm/pcr.h"

enum lt_openers_kind {
    LT_OPENERS_STATE = 1,     /* a platform state of a host: digest is its EK's, state the PCR values */
    LT_OPENERS_ESCROW = 2,    /* a recovery key of the tenant: digest is H(SubjectPublicKeyInfo) */
    LT_OPENERS_HANDOVER = 3,  /* handed over by a host: digest is its EK's, name that of the import key */
    LT_OPENERS_AUTHORITY = 4, /* a key whose signature orders changes: first or nowhere */
};

struct lt_openers_one {
    enum lt_openers_kind kind;
    bool closed;
    uint8_t digest[LT_SHA256];
    uint8_t name[LT_SHA256]; /* of HANDOVER: digest of Name(IK); else zeros */
    struct lt_pcrs state;    /* of STATE: sha256, mask is the bitmap; else mask 0 */
};

struct lt_openers {
    unsigned count;             /* at most LT_MAX_OPENERS */
    struct lt_openers_one *one; /* owned */
};

/* STATE: u32 bitmap | 32 bytes for each set bit, PCR 0 first. Bits above 23, and PCR 10, 13 and 16-23 are
 * refused, a bitmap of 0 too. */
#define LT_OPENERS_STATE_MIN 0x00005395u /* PCR 0, 2, 4, 7-9, 12, 14: what a state of ours holds at least */
#define LT_OPENERS_STATE_NEVER 0x00ff2400u
#define LT_OPENERS_STATE_BYTES (4 + 14 * LT_SHA256) /* of the longest STATE */
/* 0, or why a STATE may not have that bitmap. */
int lt_openers_state_mask(uint32_t mask, struct lt_err *e) LT_MUST_CHECK;
int lt_openers_state_read(struct lt_reader *r, struct lt_pcrs *out, struct lt_err *e) LT_MUST_CHECK;
void lt_openers_state_write(const struct lt_pcrs *state, struct lt_buf *b);
bool lt_openers_state_same(const struct lt_pcrs *a, const struct lt_pcrs *b);

/* Refuses: trailing bytes, closed other than 0 and 1, an unknown kind, a body that is not its kind's, kind 4
 * elsewhere than first, one opener twice (but a state behind its own that is closed), more than
 * LT_MAX_OPENERS. A list with kind 3 is well-formed. *out is to be freed, also on failure. */
int lt_openers_parse(const void *p, size_t n, struct lt_openers *out, struct lt_err *e) LT_MUST_CHECK;
void lt_openers_write(const struct lt_openers *o, struct lt_buf *b);
size_t lt_openers_size(const struct lt_openers *o); /* bytes that are written */
int lt_openers_digest(const struct lt_openers *o, uint8_t out[LT_SHA256], struct lt_err *e) LT_MUST_CHECK;
void lt_openers_free(struct lt_openers *o); /* leaves an empty list */
#define LT_OPENERS_AUTO __attribute__((cleanup(lt_openers_free)))

/* a and b are the same opener, `closed` apart. */
bool lt_openers_same(const struct lt_openers_one *a, const struct lt_openers_one *b);
/* Its last place in o, `closed` apart: the one that is open, if any is. LT_MAX_OPENERS: it is not there. */
unsigned lt_openers_find(const struct lt_openers *o, const struct lt_openers_one *one);
/* older is a prefix of newer, in which what older calls closed is closed. */
bool lt_openers_prefix(const struct lt_openers *older, const struct lt_openers *newer);
/* Appends a copy. LT_E_TOO_LARGE: the list is full; LT_E_USAGE: it is there already (a state: and is open),
 * or may not stand there (kind 4 behind others). */
int lt_openers_add(struct lt_openers *o, const struct lt_openers_one *one, struct lt_err *e) LT_MUST_CHECK;
int lt_openers_copy(const struct lt_openers *o, struct lt_openers *out, struct lt_err *e) LT_MUST_CHECK;

/* For people and programs: [{"kind":"state"|"escrow"|"handover"|"authority","closed":bool,
 * "host_ek_digest":hex,"pcrs":{"N":hex}} | {"kind","closed","key":hex} | …]. NULL without memory. */
json_t *lt_openers_to_json(const struct lt_openers *o);

#endif
