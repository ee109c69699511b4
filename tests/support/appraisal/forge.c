#include "tests/support/appraisal/forge.h"

#include "tests/support/appraisal/ima_lines.h"

static EVP_PKEY *keys[6];

/* Made once a process. The guest's AK is RSA, so that both kinds of signature are in every round. */
static void make_keys(void)
{
    if (keys[0])
        return;
    keys[0] = soft_rsa(2048);
    for (int i = 1; i < 6; i++)
        keys[i] = soft_ecc("P-256");
}

static void le32(struct lt_buf *b, uint32_t v)
{
    uint8_t le[4] = {(uint8_t)v, (uint8_t)(v >> 8), (uint8_t)(v >> 16), (uint8_t)(v >> 24)};
    lt_buf_put(b, le, sizeof le);
}

void forge_log_begin(struct lt_buf *b)
{
    static const uint8_t body[] = {'S', 'p', 'e', 'c', ' ', 'I', 'D',  ' ', 'E', 'v', 'e',
                                   'n', 't', '0', '3', 0,   0,   0,    0,   0,   0,   2,
                                   0,   2,   1,   0,   0,   0,   0x0b, 0,   32,  0,   0};
    static const uint8_t zeros[20];

    le32(b, 0);
    le32(b, 3);
    lt_buf_put(b, zeros, sizeof zeros);
    le32(b, sizeof body);
    lt_buf_put(b, body, sizeof body);
}

void forge_log_event(struct lt_buf *b, uint32_t pcr, uint32_t type, const uint8_t digest[32],
                     const void *data, uint32_t n)
{
    static const uint8_t alg[2] = {0x0b, 0};

    le32(b, pcr);
    le32(b, type);
    le32(b, 1);
    lt_buf_put(b, alg, sizeof alg);
    lt_buf_put(b, digest, 32);
    le32(b, n);
    lt_buf_put(b, data, n);
}

/* PCR 0-7 get one event each, and PCR 8 unless it stays dark, and the PCR values follow the log. */
static void boot(struct lt_buf *log, struct lt_pcrs *pcrs, uint8_t seed, bool dark)
{
    *log = LT_BUF(4096);
    forge_log_begin(log);
    for (uint32_t i = 0; i < (dark ? 8u : 9u); i++) {
        uint8_t digest[32];
        memset(digest, seed + (int)i, sizeof digest);
        memset(pcrs->value[i], 0, LT_MAX_DIGEST);
        lt_pcr_extend(LT_HASH_SHA256, pcrs->value[i], digest);
        forge_log_event(log, i, 8, digest, "event", 5);
    }
}

void forge_init(struct forge *f)
{
    make_keys();
    memset(f, 0, sizeof *f);
    f->guest_ak = keys[0];
    f->guest_ek = keys[1];
    f->host_ak = keys[2];
    f->host_ek = keys[3];
    f->guest_ak_shape = soft_ak_rsa;
    f->host_ak_shape = soft_ak_ecc;
    f->host_ak_shape.attributes = LT_TPM_AK_HOST_ATTRIBUTES;
    f->guest_type = f->host_type = LT_TPM_ST_ATTEST_QUOTE;
    f->guest_bank = LT_HASH_SHA256;
    f->guest_mask = 0x0103ff & ~0x0200u; /* PCR 0-8 and 16 */
    f->guest_named = 1u << 4;
    f->host_named = 1u << 0 | 1u << 7;
    memcpy(f->host_selection, lt_residency_selection, sizeof f->host_selection);
    memset(f->tenant_id, 0x11, sizeof f->tenant_id);
    memset(f->committed_tenant, 0x11, sizeof f->committed_tenant);
    memset(f->uuid, 0x22, sizeof f->uuid);
    lt_random_alnum(f->nonce, LT_RESIDENCY_NONCE);
    f->guest_clock = (struct lt_attest_clock_info){500000, 3, 0, true};
    f->host_clock = (struct lt_attest_clock_info){90000000, 7, 2, true};
    f->guest_pcrs.alg = f->host_pcrs.alg = LT_HASH_SHA256;
    f->host_pcrs.mask = LT_RESIDENCY_HOST_PCR_MASK;
    f->listed = true;
    memcpy(f->record.guest_uuid, f->uuid, sizeof f->uuid);
    memset(f->record.incarnation, 0x33, LT_RESIDENCY_INCARNATION);
    f->record.start_reset = f->host_clock.reset_count;
    f->record.start_restart = f->host_clock.restart_count;
    f->record.start_clock_ms = f->host_clock.clock_ms - 3600000;
    memset(f->record.firmware_digest, 0x44, 32);
    memset(f->record.domain_digest, 0x55, 32);
    f->record.flags = LT_RESIDENCY_RUNNING | LT_RESIDENCY_BORN | LT_RESIDENCY_SEALED;
    f->accept = "[\"boot-only\"]";
    f->pin_digests = f->pin_host = true;
    f->batch_index = 7;
    f->record.version = 2;
    f->openers = forge_list;
    f->sealing_named = LT_OPENERS_STATE_MIN;
    strcpy(f->pubkey, "-----BEGIN PUBLIC KEY-----\nforged\n-----END PUBLIC KEY-----\n");
}

void forge_measure(struct forge *f)
{
    f->guest_mask |= 1u << LT_IMA_PCR | LT_IMA_BOOT_PCRS | 1u << 12;
    f->guest_named = 0x13ff; /* 0-9 and 12: what decides over the list is not open */
    f->host_named = 0x13ff;
    f->ima_g = (struct forge_ima){.paths = {"/init", "/usr/bin/web", "/usr/lib/libc.so.6"}};
    f->ima_h =
        (struct forge_ima){.paths = {"/usr/sbin/limetree-agent", "/usr/sbin/libvirtd", "/usr/bin/swtpm",
                                     "/usr/bin/qemu-system-x86_64", "/usr/lib/libtpms.so.0"}};
}

/* ---- IMA ---- */

static void violation(struct forge_ima *m, struct lt_pcrs *pcrs)
{
    uint8_t ones[32];

    memset(ones, 0xff, sizeof ones);
    lt_pcr_extend(LT_HASH_SHA256, pcrs->value[LT_IMA_PCR], ones);
    lt_buf_printf(&m->list, "10 %040d ima-ng sha256:%064d /etc/motd\n", 0, 0);
}

static void runtime_policy(struct forge_ima *m)
{
    m->layer = LT_BUF(16384);
    ima_policy(&m->layer, m->allowed[0] ? m->allowed : m->paths, m->exclude);
    OK(lt_ima_table_compile(m->layer.p, m->layer.n, NULL, &m->table, &err));
    OK(lt_ima_table_open(m->table.p, m->table.n, &m->t, &err));
    m->documents.layer[0] = m->t;
}

static void measure(struct forge_ima *m, struct lt_pcrs *pcrs, const struct lt_buf *log)
{
    struct lt_slice part[8];
    uint8_t digest[LT_MAX_DIGEST];
    unsigned count = 0;
    char hex[65];

    lt_sha256(log->p, log->n, m->log_digest);
    if (m->boot) {
        m->boot_doc = LT_BUF(4096);
        lt_hex(pcrs->value[4], 32, hex);
        lt_buf_printf(&m->boot_doc, "{\"golden\":{\"usual\":{\"4\":\"%s\"}}}", hex);
        OK(lt_boot_policy_parse(m->boot_doc.p, m->boot_doc.n, &m->boot_policy, &err));
        m->documents.boot = m->boot_policy;
        lt_sha256(m->boot_doc.p, m->boot_doc.n, m->documents.boot_digest);
    }
    if (!m->paths[0])
        return;
    m->list = LT_BUF(65536);
    if (m->vacuous) {
        lt_sha256("", 0, m->digest);
        runtime_policy(m);
        return;
    }
    for (int i = 0; i < 8; i++)
        part[i] = (struct lt_slice){pcrs->value[i], 32};
    lt_hash(LT_HASH_SHA256, part, 8, digest);
    digest[0] ^= m->other_aggregate;
    uint8_t *pcr = pcrs->value[LT_IMA_PCR];
    ima_line(&m->list, pcr, digest, "boot_aggregate");
    while (m->paths[count])
        count++;
    for (unsigned i = 0; i < count; i++)
        ima_file(&m->list, i + m->behind < count ? pcr : NULL, m->paths[i]);
    if (m->violation)
        violation(m, pcrs);
    lt_sha256(m->list.p, m->list.n, m->digest);
    runtime_policy(m);
}

/* The keys of a policy document that name what is measured. */
static void measured_keys(const struct forge_ima *m, struct lt_buf *policy)
{
    uint8_t digest[32];
    char hex[65];

    if (m->boot) {
        lt_hex(m->documents.boot_digest, 32, hex);
        lt_buf_printf(policy, ",\"boot\":\"%s\"", hex);
    }
    if (!m->paths[0])
        return;
    lt_sha256(m->layer.p, m->layer.n, digest);
    lt_hex(digest, 32, hex);
    lt_buf_printf(policy, ",\"layers\":[{\"name\":\"base\",\"policy\":\"%s\"%s}]%s", hex,
                  m->window ? m->window : "", m->options ? m->options : "");
}

static struct lt_measured_logs logs_of(const struct forge_ima *m, const struct lt_boot_log *log)
{
    return (struct lt_measured_logs){.boot_log = log,
                                     .has_ima = m->paths[0],
                                     .ima = {m->list.p, m->list.n},
                                     .documents = &m->documents,
                                     .boot_log_digest = m->log_digest,
                                     .ima_digest = m->digest,
                                     .now = FORGE_NOW};
}

static void ima_free(struct forge_ima *m)
{
    lt_ima_table_close(m->t);
    lt_boot_policy_free(m->boot_policy);
    lt_buf_free(&m->list);
    lt_buf_free(&m->layer);
    lt_buf_free(&m->table);
    lt_buf_free(&m->boot_doc);
}

void forge_second_host(struct forge *f)
{
    f->host_ak = keys[4];
    f->host_ek = keys[5];
}

static void public_of(EVP_PKEY *k, const struct soft_shape *s, struct lt_buf *out)
{
    *out = LT_BUF(LT_MAX_PUBLIC);
    soft_public(k, s, out);
}

/* "pcrs" with the value of each PCR of mask. */
static void named_pcrs(const struct lt_pcrs *pcrs, uint32_t mask, struct lt_buf *b)
{
    const char *comma = "";
    char hex[65];

    lt_buf_str(b, "\"pcrs\":{");
    for (unsigned i = 0; i < LT_MAX_PCRS; i++) {
        if (!(mask >> i & 1))
            continue;
        lt_hex(pcrs->value[i], 32, hex);
        lt_buf_printf(b, "%s\"%u\":[\"%s\"]", comma, i, hex);
        comma = ",";
    }
    lt_buf_str(b, "}");
}

/* ---- openers ---- */

struct lt_openers_one forge_state(const struct forge *f, uint32_t mask)
{
    struct lt_openers_one one = {.kind = LT_OPENERS_STATE, .state = {.alg = LT_HASH_SHA256, .mask = mask}};

    memcpy(one.digest, f->host_id->ek_digest, sizeof one.digest);
    for (unsigned i = 0; i < LT_MAX_PCRS; i++)
        if (mask >> i & 1)
            memcpy(one.state.value[i], f->host_pcrs.value[i], 32);
    return one;
}

void forge_list(struct forge *f)
{
    const struct lt_openers_one one = forge_state(f, LT_OPENERS_STATE_MIN);

    OK(lt_openers_add(&f->list, &one, &err));
}

static void sealing_policy(struct forge *f, char digest[65])
{
    uint8_t boot[32];
    char hex[65];

    f->policy_s = LT_BUF(16384);
    lt_buf_str(&f->policy_s, "{");
    named_pcrs(&f->host_pcrs, f->sealing_named, &f->policy_s);
    if (f->sealing_boot) {
        lt_sha256(f->sealing_boot, strlen(f->sealing_boot), boot);
        lt_hex(boot, 32, hex);
        lt_buf_printf(&f->policy_s, ",\"boot\":\"%s\"", hex);
        OK(lt_boot_policy_parse(f->sealing_boot, strlen(f->sealing_boot), &f->seal_boot, &err));
        f->seal_documents.boot = f->seal_boot;
        memcpy(f->seal_documents.boot_digest, boot, 32);
    }
    lt_buf_str(&f->policy_s, "}");
    OK(lt_policy_host_parse(f->policy_s.p, f->policy_s.n, &f->seal_policy, &err));
    lt_hex(f->seal_policy->digest, 32, digest);
}

static void sealed(struct forge *f)
{
    if (f->record.version < 2)
        return;
    f->openers(f);
    OK(lt_openers_digest(&f->list, f->record.openers_digest, &err));
    f->hosts[0] = f->host_id;
    f->held[0] = (struct lt_checks_openers_policy){f->seal_policy, &f->seal_documents};
    f->openers_in = (struct lt_checks_openers){
        .list = &f->list, .host = f->hosts, .host_count = 1, .policy = f->held, .policy_count = 1};
}

static void policies(struct forge *f)
{
    char firmware[65], domain[65], digest[65], seals[65];

    f->policy_h = LT_BUF(16384);
    lt_buf_str(&f->policy_h, "{");
    named_pcrs(&f->host_pcrs, f->host_named, &f->policy_h);
    measured_keys(&f->ima_h, &f->policy_h);
    lt_buf_str(&f->policy_h, "}");
    OK(lt_policy_host_parse(f->policy_h.p, f->policy_h.n, &f->host_policy, &err));
    lt_hex(f->host_policy->digest, 32, digest);
    sealing_policy(f, seals);

    lt_hex(f->record.firmware_digest, 32, firmware);
    lt_hex(f->record.domain_digest, 32, domain);
    f->policy_g = LT_BUF(16384);
    lt_buf_str(&f->policy_g, "{");
    named_pcrs(&f->guest_pcrs, f->guest_named, &f->policy_g);
    lt_buf_printf(&f->policy_g, ",\"accept\":%s", f->accept);
    if (f->pin_digests)
        lt_buf_printf(&f->policy_g, ",\"firmware\":[\"%s\"],\"domain\":[\"%s\"]", firmware, domain);
    if (f->pin_host)
        lt_buf_printf(&f->policy_g, ",\"host_policies\":[\"%s\",\"%s\"]", digest, seals);
    if (f->sealing)
        lt_buf_str(&f->policy_g, f->sealing);
    else
        lt_buf_printf(&f->policy_g, ",\"seals\":[\"%s\"]", seals);
    measured_keys(&f->ima_g, &f->policy_g);
    lt_buf_str(&f->policy_g, "}");
    OK(lt_policy_guest_parse(f->policy_g.p, f->policy_g.n, &f->guest_policy, &err));
}

/* TPMS_ATTEST */
static void attest(struct lt_buf *b, uint16_t type, const uint8_t signer[LT_TPM_NAME], struct lt_slice extra,
                   const struct lt_attest_clock_info *clock, struct lt_slice selection,
                   const struct lt_pcrs *pcrs)
{
    uint8_t digest[32];

    *b = LT_BUF(LT_MAX_ATTEST);
    lt_buf_u32(b, LT_TPM_GENERATED);
    lt_buf_u16(b, type);
    lt_buf_put16(b, signer, LT_TPM_NAME);
    lt_buf_put16(b, extra.p, extra.n);
    lt_buf_u64(b, clock->clock_ms);
    lt_buf_u32(b, clock->reset_count);
    lt_buf_u32(b, clock->restart_count);
    lt_buf_u8(b, clock->safe);
    lt_buf_u64(b, 0x2020000000000001);
    lt_buf_put(b, selection.p, selection.n);
    lt_pcrs_digest(pcrs, LT_HASH_SHA256, digest);
    lt_buf_put16(b, digest, sizeof digest);
}

/* QN of a key under the EK, or under the owner hierarchy's EK-shaped primary. */
static void signer(const struct lt_public *ek, const struct lt_public *ak, bool owner,
                   uint8_t out[LT_TPM_NAME])
{
    uint8_t root[4 + LT_TPM_NAME] = {0x40, 0, 0, 1}, qn[2 * LT_TPM_NAME] = {0, 0x0b};

    if (!owner) {
        OK(lt_tpm_qualified_name(ek, ak, out, &err));
        return;
    }
    OK(lt_public_name(ek, root + 4, &err));
    lt_sha256(root, sizeof root, qn + 2);
    OK(lt_public_name(ak, qn + LT_TPM_NAME, &err));
    out[0] = 0;
    out[1] = 0x0b;
    lt_sha256(qn, sizeof qn, out + 2);
}

static void guest_quote(struct forge *f)
{
    uint8_t selection[16] = {0, 0, 0, 1, 0, 0, 3}, name[LT_TPM_NAME], event[32];
    struct lt_public ak, ek;

    soft_parse(f->guest_ak, &f->guest_ak_shape, &ak);
    soft_parse(f->guest_ek, &soft_ek, &ek);
    lt_sha256(f->pubkey, strlen(f->pubkey), event);
    memset(f->guest_pcrs.value[16], 0, LT_MAX_DIGEST);
    lt_pcr_extend(LT_HASH_SHA256, f->guest_pcrs.value[16], event);
    f->guest_pcrs.mask = f->guest_mask;
    for (int i = 0; i < 3; i++)
        selection[7 + i] = (uint8_t)(f->guest_mask >> 8 * i);
    lt_put_u16(selection + 4, f->guest_bank);
    if (f->guest_two_banks) {
        selection[3] = 2;
        memcpy(selection + 10, "\0\4\3\0\0\0", 6);
    }
    signer(&ek, &ak, f->guest_ak_in_owner, name);
    attest(&f->attest_g, f->guest_type, name, (struct lt_slice){(uint8_t *)f->nonce, LT_RESIDENCY_NONCE},
           &f->guest_clock, (struct lt_slice){selection, f->guest_two_banks ? 16 : 10}, &f->guest_pcrs);
    f->sig_g = LT_BUF(LT_MAX_SIGNATURE);
    soft_sign(f->guest_ak, f->attest_g.p, f->attest_g.n, &f->sig_g);
}

static struct lt_slice of(const struct lt_buf *b)
{
    return (struct lt_slice){b->p, b->n};
}

static void batch(struct forge *f, struct lt_residency_header *h)
{
    uint8_t leaves[FORGE_BATCH][LT_MERKLE_NODE], evidence[32], commitment[32];
    struct lt_merkle *tree;

    lt_random(leaves, sizeof leaves);
    lt_residency_evidence_digest(of(&f->attest_g), of(&f->sig_g), evidence);
    lt_residency_commitment(f->committed_tenant, f->uuid, f->guest_id->ek_digest, f->guest_id->ak_name,
                            f->nonce, evidence, commitment);
    lt_merkle_leaf(commitment, 32, leaves[f->batch_index]);
    OK(lt_merkle_new((const uint8_t(*)[LT_MERKLE_NODE])leaves, FORGE_BATCH, &tree, &err));
    h->n = FORGE_BATCH;
    memcpy(h->batch_root, lt_merkle_root(tree), 32);
    OK(lt_merkle_path(tree, f->batch_index, &f->proof.batch, &err));
    lt_merkle_free(tree);
}

static int by_ek(const void *a, const void *b)
{
    return memcmp(((const struct lt_residency_record *)a)->ek_digest,
                  ((const struct lt_residency_record *)b)->ek_digest, 32);
}

static void inventory(struct forge *f, struct lt_residency_header *h)
{
    struct lt_residency_record all[FORGE_RECORDS];
    struct lt_merkle *tree;

    for (int i = 0; i < FORGE_RECORDS; i++) {
        all[i] = f->record;
        lt_random(all[i].ek_digest, 32);
        lt_random(all[i].guest_uuid, 16);
    }
    if (f->listed)
        all[0] = f->record;
    qsort(all, FORGE_RECORDS, sizeof *all, by_ek);
    OK(lt_residency_inventory_tree(all, FORGE_RECORDS, &tree, &err));
    h->m = FORGE_RECORDS;
    memcpy(h->inventory_root, lt_merkle_root(tree), 32);
    for (uint32_t i = 0; f->listed && i < FORGE_RECORDS; i++)
        if (!by_ek(&all[i], &f->record)) {
            OK(lt_merkle_path(tree, i, &f->proof.residency, &err));
            f->proof.record_n = lt_residency_record_write(&f->record, f->proof.record);
        }
    f->proof.resident = f->listed;
    lt_merkle_free(tree);
}

static void host_quote(struct forge *f)
{
    struct lt_residency_header h = {.batch_seq = 42, .inventory_seq = 9, .flags = f->header_flags};
    uint8_t name[LT_TPM_NAME], digest[32];
    struct lt_public ak, ek;

    soft_parse(f->host_ak, &f->host_ak_shape, &ak);
    soft_parse(f->host_ek, &soft_ek, &ek);
    memcpy(h.host_id, f->host_id->host_id, LT_RESIDENCY_HOST_ID);
    h.host_id[0] ^= f->foreign_host_id;
    memcpy(h.policy_digest, f->host_policy->digest, 32);
    batch(f, &h);
    inventory(f, &h);
    lt_residency_header_write(&h, f->quote.header);
    lt_sha256(f->quote.header, LT_RESIDENCY_HEADER, digest);
    signer(&ek, &ak, f->host_ak_in_owner, name);
    attest(&f->attest_h, f->host_type, name, (struct lt_slice){digest, 32}, &f->host_clock,
           (struct lt_slice){f->host_selection, 10}, &f->host_pcrs);
    f->sig_h = LT_BUF(LT_MAX_SIGNATURE);
    soft_sign(f->host_ak, f->attest_h.p, f->attest_h.n, &f->sig_h);
    f->quote.attest = f->attest_h.p;
    f->quote.attest_n = f->attest_h.n;
    f->quote.signature = f->sig_h.p;
    f->quote.signature_n = f->sig_h.n;
    f->quote.pcrs = f->host_pcrs;
}

static void identities(struct forge *f)
{
    public_of(f->guest_ak, &f->guest_ak_shape, &f->ak_g);
    public_of(f->guest_ek, &soft_ek, &f->ek_g);
    public_of(f->host_ak, &f->host_ak_shape, &f->ak_h);
    public_of(f->host_ek, &soft_ek, &f->ek_h);
    f->guest_id = lt_checks_identity_guest_new(of(&f->ek_g), of(&f->ak_g));
    f->host_id = lt_checks_identity_host_new(of(&f->ek_h), of(&f->ak_h));
    f->guest_id->activated = f->host_id->activated = LT_CHECKS_FACT_YES;
    f->host_id->in_registry = f->host_id->certificate = LT_CHECKS_FACT_YES;
    if (!lt_slice_eq((struct lt_slice){f->record.ek_digest, 32}, (struct lt_slice){(uint8_t[32]){0}, 32}))
        return; /* the plan named another EK */
    memcpy(f->record.ek_digest, f->guest_id->ek_digest, 32);
}

void forge_build(struct forge *f)
{
    identities(f);
    boot(&f->log_g, &f->guest_pcrs, 0x60, f->dark_guest);
    boot(&f->log_h, &f->host_pcrs, 0x70, f->dark_host);
    f->guest_log = lt_boot_log_new(of(&f->log_g));
    f->host_log = lt_boot_log_new(of(&f->log_h));
    measure(&f->ima_g, &f->guest_pcrs, &f->log_g);
    measure(&f->ima_h, &f->host_pcrs, &f->log_h);
    memcpy(f->host_pcrs.value[LT_RESIDENCY_AK_PCR], f->keep_pcr13 ? f->pcr13 : f->host_id->ak_pcr, 32);
    policies(f);
    sealed(f);
    guest_quote(f);
    host_quote(f);
    f->guest = (struct lt_checks_guest_round){
        .identity = f->guest_id,
        .required_pcrs = f->guest_mask,
        .attest = of(&f->attest_g),
        .signature = of(&f->sig_g),
        .pcrs = &f->guest_pcrs,
        .pubkey = f->pubkey,
        .logs = logs_of(&f->ima_g, f->guest_log),
        .policy = f->guest_policy,
        .history = &f->history,
    };
    memcpy(f->guest.tenant_id, f->tenant_id, 16);
    memcpy(f->guest.guest_uuid, f->uuid, 16);
    memcpy(f->guest.nonce, f->nonce, sizeof f->nonce);
    f->host = (struct lt_checks_host_round){
        .guest = &f->guest,
        .quote = &f->quote,
        .proof = &f->proof,
        .identity = f->host_id,
        .policy = f->host_policy,
        .logs = logs_of(&f->ima_h, f->host_log),
        .timed = true,
        .t1_ms = FORGE_T1,
        .t5_ms = FORGE_T1 + 400,
        .window_ms = LT_WINDOW_MS,
        .history = &f->host_history,
        .openers = &f->openers_in,
    };
}

void forge_free(struct forge *f)
{
    struct lt_buf *bufs[] = {&f->ak_g,     &f->ek_g,     &f->ak_h,    &f->ek_h,  &f->attest_g,
                             &f->sig_g,    &f->attest_h, &f->sig_h,   &f->log_g, &f->log_h,
                             &f->policy_g, &f->policy_h, &f->policy_s};

    for (size_t i = 0; i < sizeof bufs / sizeof *bufs; i++)
        lt_buf_free(bufs[i]);
    ima_free(&f->ima_g);
    ima_free(&f->ima_h);
    lt_boot_log_free(f->guest_log);
    lt_boot_log_free(f->host_log);
    lt_checks_identity_guest_free(f->guest_id);
    lt_checks_identity_host_free(f->host_id);
    lt_policy_guest_free(f->guest_policy);
    lt_policy_host_free(f->host_policy);
    lt_policy_host_free(f->seal_policy);
    lt_boot_policy_free(f->seal_boot);
    lt_openers_free(&f->list);
}

void forge_judge(struct forge *f, struct lt_verdict *v)
{
    lt_verdict_init(v);
    lt_checks_appraise_guest(&f->guest, &f->facts, v);
    lt_checks_appraise_host(&f->host, &f->facts, v);
    lt_verdict_conclude(v, lt_checks_least_link(f->guest_policy), f->guest_policy->accept_boot_only);
}

static struct lt_bundle_blob copy(const void *p, size_t n)
{
    struct lt_bundle_blob b = {malloc(n ? n : 1), n};
    assert_non_null(b.p);
    memcpy(b.p, p, n);
    return b;
}

static struct lt_bundle_blob copy_buf(const struct lt_buf *b)
{
    return copy(b->p, b->n);
}

static void bundle_policy(struct lt_bundle *b, const struct lt_buf *doc)
{
    struct lt_bundle_policy *p = &b->policies[b->policy_count++];

    lt_sha256(doc->p, doc->n, p->digest);
    p->bytes = copy_buf(doc);
}

static void bundle_ima(struct lt_bundle *b, const struct forge_ima *m, struct lt_bundle_blob *list)
{
    if (m->boot)
        bundle_policy(b, &m->boot_doc);
    if (!m->paths[0])
        return;
    *list = copy_buf(&m->list);
    bundle_policy(b, &m->layer);
}

static void bundle_openers(const struct forge *f, struct lt_bundle *b)
{
    struct lt_buf bytes = LT_BUF(LT_MAX_OPENERS_BYTES);

    if (f->record.version < 2)
        return;
    lt_openers_write(&f->list, &bytes);
    b->host.openers = copy_buf(&bytes);
    lt_buf_free(&bytes);
    bundle_policy(b, &f->policy_s);
    if (f->sealing_boot) {
        struct lt_buf boot = {.p = (uint8_t *)f->sealing_boot, .n = strlen(f->sealing_boot)};
        bundle_policy(b, &boot);
    }
}

void forge_bundle(struct forge *f, struct lt_bundle *b)
{
    struct lt_verdict v;

    forge_judge(f, &v);
    memset(b, 0, sizeof *b);
    memcpy(b->tenant_id, f->tenant_id, 16);
    memcpy(b->guest.uuid, f->uuid, 16);
    memcpy(b->guest.nonce, f->nonce, sizeof f->nonce);
    b->guest.attest = copy_buf(&f->attest_g);
    b->guest.signature = copy_buf(&f->sig_g);
    b->guest.pcrs = f->guest_pcrs;
    b->guest.ak = copy_buf(&f->ak_g);
    b->guest.ek = copy_buf(&f->ek_g);
    b->guest.pubkey = strdup(f->pubkey);
    b->guest.boot_log = copy_buf(&f->log_g);
    memcpy(b->commitment, f->facts.commitment, 32);
    b->has_host = true;
    b->host.quote = f->quote;
    b->host.quote.attest = copy_buf(&f->attest_h).p;
    b->host.quote.signature = copy_buf(&f->sig_h).p;
    b->host.ak = copy_buf(&f->ak_h);
    b->host.ek = copy_buf(&f->ek_h);
    b->host.boot_log = copy_buf(&f->log_h);
    b->proof = f->proof;
    b->policies = calloc(7, sizeof *b->policies);
    bundle_policy(b, &f->policy_h);
    bundle_openers(f, b);
    bundle_ima(b, &f->ima_g, &b->guest.ima);
    bundle_ima(b, &f->ima_h, &b->host.ima);
    b->verdict = lt_verdict_to_json(&v, NULL);
}

void forge_states(const struct lt_verdict *v, char out[LT_CHECKS + 1])
{
    for (int c = 0; c < LT_CHECKS; c++)
        out[c] = "-PF"[v->check[c].state];
    out[LT_CHECKS] = 0;
}

void forge_expect(struct forge *f, const char *what, enum lt_verdict_result result, const char *reason,
                  const char *states)
{
    char is[LT_CHECKS + 1];
    struct lt_verdict v;

    forge_judge(f, &v);
    forge_states(&v, is);
    if (v.result != result || strcmp(v.reason, reason) || strcmp(is, states)) {
        for (int c = 0; c < LT_CHECKS; c++)
            print_message("  %c %s: %s\n", is[c], lt_check_slug(c), v.check[c].message);
        fail_msg("%s: %s [%s] %s, not %s [%s] %s", what, lt_verdict_result_slug(v.result), v.reason, is,
                 lt_verdict_result_slug(result), reason, states);
    }
}
