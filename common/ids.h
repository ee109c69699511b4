/* Identifiers: UUIDs in text order (as libvirt prints them), Keylime agent ids. */
#ifndef LT_COMMON_IDS_H
#define LT_COMMON_IDS_H

#include "common/bytes.h"

#define LT_UUID 16
#define LT_UUID_TEXT 37 /* with NUL */
#define LT_ID_MAX 80    /* Keylime agent id, characters */

/* Strict 8-4-4-4-12 hex, either case. */
int lt_uuid_parse(const char *s, uint8_t out[LT_UUID], struct lt_err *e) LT_MUST_CHECK;
void lt_uuid_format(const uint8_t uuid[LT_UUID], char out[LT_UUID_TEXT]); /* lower case */
/* The key of a machine that is known by an agent's id alone: the UUID it is the text of, or of any other id a
 * version 8 UUID (RFC 9562) made of SHA-256("LT1:AGENT-ID" | id). */
void lt_uuid_of_id(const char *id, uint8_t out[LT_UUID]);
void lt_uuid_random(uint8_t out[LT_UUID]); /* version 4 */

/* 1-80 characters of [A-Za-z0-9_.-], and neither "." nor "..": ids end up in paths. */
bool lt_id_ok(const char *s);

#endif
