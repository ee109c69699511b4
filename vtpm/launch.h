/* A host's own domains, as whoever starts them sees libvirt: a read-write connection, used by one thread and
 * closed after each piece of work. */
#ifndef LT_VTPM_LAUNCH_H
#define LT_VTPM_LAUNCH_H

#include "common/ids.h"

struct lt_launch;

/* uri as an inventory's. LT_E_UNREACHABLE: libvirtd does not answer; a later call too, once it has been
 * silent for 15 s, if an inventory runs (its thread turns libvirt's event loop). */
int lt_launch_open(const char *uri, struct lt_launch **out, struct lt_err *e) LT_MUST_CHECK;
void lt_launch_close(struct lt_launch *l); /* NULL is fine */

struct lt_launch_domain {
    char *xml; /* as it is defined, passwords included; free */
    bool active;
    bool autostart; /* by libvirt */
    bool saved;     /* it would be restored from a managed save image */
};
/* LT_E_NOT_FOUND: libvirt knows no such domain. */
int lt_launch_look(struct lt_launch *l, const uint8_t uuid[LT_UUID], struct lt_launch_domain *out,
                   struct lt_err *e) LT_MUST_CHECK;
/* LT_E_REFUSED, with libvirt's words, these two. */
int lt_launch_define(struct lt_launch *l, const char *xml, struct lt_err *e) LT_MUST_CHECK;
int lt_launch_start(struct lt_launch *l, const uint8_t uuid[LT_UUID], bool paused,
                    struct lt_err *e) LT_MUST_CHECK;

#endif
