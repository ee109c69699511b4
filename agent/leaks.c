#include "agent/leaks.h"

#include "agent/check_seals.h"
#include "common/alloc.h"
#include "common/run/clock.h"
#include "common/run/cond.h"
#include "common/run/log.h"

#include <pwd.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define EVERY_MS 2000

struct lt_agent_leaks {
    enum lt_agent_leaks_mode mode;
    uid_t swtpm_uid;
    _Atomic(const char *) now;
    pthread_t thread;
    bool running;
    pthread_mutex_t lock; /* stopping */
    pthread_cond_t cond;
    bool stopping;
};

int lt_agent_leaks_mode(const char *value, enum lt_agent_leaks_mode *out, struct lt_err *e)
{
    static const char *const names[] = {"none", "leaks", "all"};

    for (int i = 0; i < 3; i++)
        if (!strcmp(value, names[i])) {
            *out = (enum lt_agent_leaks_mode)i;
            return 0;
        }
    return lt_fail(e, LT_E_CONFIG, "seal_checks = %s: not leaks, all or none", value);
}

static void look(struct lt_agent_leaks *l)
{
    struct lt_check_seals_facts *f = lt_new(struct lt_check_seals_facts);
    struct lt_check_seals_findings *findings = lt_new(struct lt_check_seals_findings);

    lt_check_seals_gather("/proc", "/sys", l->swtpm_uid, f);
    lt_check_seals_judge(f, findings);
    const char *what = lt_check_seals_leak(findings, l->mode == LT_AGENT_LEAKS_ALL);
    const char *before = atomic_exchange(&l->now, what);
    if (what && what != before) /* slugs are static */
        lt_log(LT_LOG_WARNING, "host-leaks",
               "the vault is closed: %s (limetree-agent --check-seals tells more)", what);
    else if (before && !what)
        lt_log(LT_LOG_INFO, "host-leaks", "nothing leaks from this host any more: the vault may be opened");
    free(f);
    free(findings);
}

static void *run(void *arg)
{
    struct lt_agent_leaks *l = arg;

    pthread_mutex_lock(&l->lock);
    while (!l->stopping) {
        const uint64_t until = lt_clock_ms() + EVERY_MS;
        while (!l->stopping && lt_cond_until(&l->cond, &l->lock, until))
            ;
        if (l->stopping)
            break;
        pthread_mutex_unlock(&l->lock);
        look(l);
        pthread_mutex_lock(&l->lock);
    }
    pthread_mutex_unlock(&l->lock);
    return NULL;
}

static uid_t uid_of(const char *user)
{
    const char *name = *user ? user : geteuid() ? NULL : "tss";
    const struct passwd *p = name ? getpwnam(name) : NULL;

    return p ? p->pw_uid : name ? (uid_t)-1 : geteuid();
}

int lt_agent_leaks_start(enum lt_agent_leaks_mode mode, const char *swtpm_user, struct lt_agent_leaks **out,
                         struct lt_err *e)
{
    struct lt_agent_leaks *l = *out = lt_new(struct lt_agent_leaks);

    l->mode = mode;
    pthread_mutex_init(&l->lock, NULL);
    lt_cond_init(&l->cond);
    if (mode == LT_AGENT_LEAKS_NONE) {
        lt_log(LT_LOG_WARNING, "host-leaks",
               "seal_checks = none: where this host leaks keys of sealed vTPMs, nobody looks");
        return 0;
    }
    l->swtpm_uid = uid_of(swtpm_user);
    look(l);
    if (pthread_create(&l->thread, NULL, run, l)) {
        lt_agent_leaks_stop(lt_take(out));
        return lt_fail(e, LT_E_NO_MEMORY, "seal_checks: no thread");
    }
    l->running = true;
    return 0;
}

void lt_agent_leaks_stop(struct lt_agent_leaks *l)
{
    if (!l)
        return;
    if (l->running) {
        pthread_mutex_lock(&l->lock);
        l->stopping = true;
        pthread_cond_signal(&l->cond);
        pthread_mutex_unlock(&l->lock);
        pthread_join(l->thread, NULL);
    }
    pthread_cond_destroy(&l->cond);
    pthread_mutex_destroy(&l->lock);
    free(l);
}

int lt_agent_leaks_command(const struct lt_agent_conf *conf, const struct lt_agent_options *o, json_t **out,
                           struct lt_err *e)
{
    struct lt_check_seals_facts *f = lt_new(struct lt_check_seals_facts);
    struct lt_check_seals_findings *findings = lt_new(struct lt_check_seals_findings);

    (void)o;
    lt_check_seals_gather("/proc", "/sys", uid_of(conf->swtpm_user), f);
    lt_check_seals_judge(f, findings);
    const char *what = lt_check_seals_leak(findings, true);
    *out = lt_check_seals_to_json(findings);
    free(f);
    free(findings);
    return what ? lt_fail(e, LT_E_REFUSED, "%s: this host does not hold what a policy in \"seals\" promises",
                          what)
                : 0;
}

const char *lt_agent_leaks_now(void *leaks)
{
    return atomic_load(&((struct lt_agent_leaks *)leaks)->now);
}
