/* Inside the domains of a host agent: sealed_domains.c (define, start, pin, hook) and provision.c share it;
 * nobody else includes this. */
#ifndef LT_AGENT_SEALED_DOMAINS_IMPL_H
#define LT_AGENT_SEALED_DOMAINS_IMPL_H

#include "agent/definitions.h"
#include "agent/lent.h"
#include "agent/sealed_domains.h"
#include "vtpm/domain.h"
#include "vtpm/files.h"
#include "vtpm/launch.h"
#include "vtpm/statedir.h"

#include <pthread.h>

enum lt_agent_domains_operation {
    LT_AGENT_DOMAINS_NONE,
    LT_AGENT_DOMAINS_DEFINE,
    LT_AGENT_DOMAINS_PROVISION,
    LT_AGENT_DOMAINS_START,
    LT_AGENT_DOMAINS_PIN,
};

struct lt_agent_domains {
    struct lt_agent_domains_conf conf;
    struct lt_statedir state; /* base owned */
    struct lt_definitions definitions;
    const struct lt_seal_keeper *keeper;
    struct lt_lent *lent;
    pthread_mutex_t lock; /* of stop, doing and whose; held for no longer than that */
    pthread_cond_t wake;
    bool stop, has_thread;
    enum lt_agent_domains_operation doing;
    uint8_t whose[LT_UUID];
    pthread_mutex_t files_lock; /* of files: pins are compared by one thread at a time */
    struct lt_files *files;
    pthread_t thread; /* starts what is marked */
};

/* LT_E_BUSY where another operation is under way; else lt_agent_domains_end ends it. */
int lt_agent_domains_begin(struct lt_agent_domains *d, enum lt_agent_domains_operation what,
                           const uint8_t uuid[LT_UUID], struct lt_err *e) LT_MUST_CHECK;
void lt_agent_domains_end(struct lt_agent_domains *d);
void lt_agent_domains_tell(const uint8_t uuid[LT_UUID], const char *what, int rc, const struct lt_err *e);
int lt_agent_domains_check_leak(const struct lt_agent_domains *d, struct lt_err *e) LT_MUST_CHECK;

/* What libvirt says of one domain that is defined with a sealed vTPM. */
struct lt_agent_domains_view {
    struct lt_launch *link;
    struct lt_launch_domain found;
    struct lt_domain xml;
};
/* lt_agent_domains_view_free also on failure. */
int lt_agent_domains_view_open(struct lt_agent_domains *d, const uint8_t uuid[LT_UUID],
                               struct lt_agent_domains_view *v, struct lt_err *e) LT_MUST_CHECK;
void lt_agent_domains_view_free(struct lt_agent_domains_view *v);
#define LT_AGENT_DOMAINS_VIEW_AUTO __attribute__((cleanup(lt_agent_domains_view_free)))

/* {"uuid","secret","autostart"} and the members of more, which it takes. */
int lt_agent_domains_answer(const struct lt_agent_domains *d, const uint8_t uuid[LT_UUID], json_t *more,
                            json_t **out, struct lt_err *e) LT_MUST_CHECK;

#endif
