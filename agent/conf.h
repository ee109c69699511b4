/* The configuration of limetree-agent, one table for both roles. */
#ifndef LT_AGENT_CONF_H
#define LT_AGENT_CONF_H

#include "common/run/daemon.h"

struct lt_agent_conf {
    char *role, *tcti, *listen, *state_dir, *ek_alg, *ak_alg, *ak_handle, *ima, *boot_log, *client_ca;
    char *uuid, *registrar, *contact; /* guest */
    int64_t register_idle_s, register_again_s;
    char *secure_dir, *revocation_actions_dir;
    bool run_payload;
    int64_t payload_timeout_s, action_timeout_s;
    char *cert, *key, *crl, *libvirt_uri, *records, *swtpm; /* host */
    char *swtpm_setup, *swtpm_setup_config, *swtpm_user, *local_socket, *seal_checks;
    struct lt_daemon_log_conf log;
    void *running; /* the role, while it runs */
    int exit_code; /* of the program when a thread ends it, else 0 */
};

extern const struct lt_conf_key lt_agent_keys[];
extern const size_t lt_agent_key_count;

/* What the texts mean, checked once. */
struct lt_agent_options {
    bool host;
    uint16_t ek_alg, ak_alg; /* LT_TPM_ALG_RSA, LT_TPM_ALG_ECC */
    uint32_t ak_handle;      /* persistent, 0x81000000 and above */
    const char *listen;
};
/* What struct lt_daemon's check does, for both roles. The TPM is not opened. */
int lt_agent_check(const struct lt_agent_conf *c, bool alone, struct lt_err *e) LT_MUST_CHECK;
/* Role host: is cert the one of this host? host_id NULL: not known yet, any host's will do. */
int lt_agent_check_identity(const struct lt_agent_conf *c, const uint8_t *host_id,
                            struct lt_err *e) LT_MUST_CHECK;
int lt_agent_options(const struct lt_agent_conf *c, struct lt_agent_options *out,
                     struct lt_err *e) LT_MUST_CHECK;

#endif
