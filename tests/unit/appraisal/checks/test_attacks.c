/* Attacks on a round, with software keys: what an impostor, a provider or a host off policy could send. */
#include "appraisal/checks/host_quote.h"
#include "tests/support/appraisal/forge.h"

#define HEALTHY "PPPPPPPPPPP"
#define GUEST_QUOTE "F---PPPPPP-"
#define BATCH "PPPFPPPPPP-"
#define HOST_QUOTE "PPP-F----P-"
#define HOST_IDENTITY "PPPPPF---P-"
#define RESIDENCY "PPPPPPPF-P-"
#define HOST_CLOCK "PPPPPPPPFP-"

/* ---- keys ---- */

static void guest_unrestricted(struct forge *f)
{
    f->guest_ak_shape.attributes &= ~LT_TPM_OBJ_RESTRICTED;
}

static void guest_decrypt(struct forge *f)
{
    f->guest_ak_shape.attributes |= LT_TPM_OBJ_DECRYPT;
}

static void guest_imported(struct forge *f)
{
    f->guest_ak_shape.attributes &= ~LT_TPM_OBJ_SENSITIVE_DATA_ORIGIN;
}

static void guest_in_owner(struct forge *f)
{
    f->guest_ak_in_owner = true;
}

static void host_unrestricted(struct forge *f)
{
    f->host_ak_shape.attributes &= ~LT_TPM_OBJ_RESTRICTED;
}

static void host_decrypt(struct forge *f)
{
    f->host_ak_shape.attributes |= LT_TPM_OBJ_DECRYPT;
}

static void host_without_noda(struct forge *f)
{
    f->host_ak_shape.attributes &= ~LT_TPM_OBJ_NO_DA;
}

static void host_in_owner(struct forge *f)
{
    f->host_ak_in_owner = true;
}

/* ---- attests ---- */

static void guest_certify(struct forge *f)
{
    f->guest_type = 0x8017;
}

static void host_certify(struct forge *f)
{
    f->host_type = 0x8017;
}

static void host_with_pcr16(struct forge *f)
{
    f->host_selection[9] = 1;
}

static void host_without_pcr15(struct forge *f)
{
    f->host_selection[8] = 0x7f;
}

static void host_sha1(struct forge *f)
{
    f->host_selection[5] = 4;
}

static void pcr13_empty(struct forge *f)
{
    f->keep_pcr13 = true;
}

static void pcr13_foreign(struct forge *f)
{
    f->keep_pcr13 = true;
    memset(f->pcr13, 0x13, sizeof f->pcr13);
}

static void blob_drops_pcr(struct forge *f)
{
    f->guest_pcrs.mask &= ~1u;
}

static void blob_adds_pcr(struct forge *f)
{
    f->guest_pcrs.mask |= 1u << 9;
}

/* The values keep their order, so the digest still fits: only the numbers lie. */
static void blob_renumbers(struct forge *f)
{
    f->guest_pcrs.mask ^= 1u << 8 | 1u << 9;
    memcpy(f->guest_pcrs.value[9], f->guest_pcrs.value[8], 32);
}

static void another_bank(struct forge *f)
{
    f->guest_bank = LT_HASH_SHA1;
}

static void two_banks(struct forge *f)
{
    f->guest_two_banks = true;
}

static void no_pcr16(struct forge *f)
{
    f->guest_mask &= ~(1u << LT_CHECKS_TRANSPORT_PCR);
}

static void foreign_host_id(struct forge *f)
{
    f->foreign_host_id = true;
}

static void blob_value(struct forge *f)
{
    f->guest_pcrs.value[4][0] ^= 1;
}

static void quotes_less(struct forge *f)
{
    f->guest.required_pcrs |= 1u << 9;
}

static void other_transport_key(struct forge *f)
{
    f->pubkey[30] ^= 1;
}

static void other_pcr_value_h(struct forge *f)
{
    f->quote.pcrs.value[11][0] ^= 1;
}

static void activation_failed_g(struct forge *f)
{
    f->guest_id->activated = LT_CHECKS_FACT_NO;
}

static void activation_failed_h(struct forge *f)
{
    f->host_id->activated = LT_CHECKS_FACT_NO;
}

/* ---- proofs ---- */

static void other_tenant(struct forge *f)
{
    f->committed_tenant[15] ^= 1;
}

static void batch_node_more(struct forge *f)
{
    memset(f->proof.batch.nodes[f->proof.batch.count++], 0, LT_MERKLE_NODE);
}

static void batch_node_less(struct forge *f)
{
    f->proof.batch.count--;
}

static void batch_index_beyond(struct forge *f)
{
    f->proof.batch.index += FORGE_BATCH;
}

static void residency_node_more(struct forge *f)
{
    memset(f->proof.residency.nodes[f->proof.residency.count++], 0, LT_MERKLE_NODE);
}

static void residency_node_less(struct forge *f)
{
    f->proof.residency.count--;
}

static void residency_index_moved(struct forge *f)
{
    f->proof.residency.index = (f->proof.residency.index + 1) % FORGE_RECORDS;
}

static void other_ek(struct forge *f)
{
    memset(f->record.ek_digest, 0xee, 32);
}

static void other_ek_and_guest(struct forge *f)
{
    other_ek(f);
    f->record.guest_uuid[0] ^= 1;
}

static void absent_before(struct forge *f)
{
    f->history.absent_before = true;
}

/* Any host can list a UUID with an EK of its own; the one that was accepted last has another vTPM under it.
 */
static void accepted_here(struct forge *f)
{
    f->history.has_accepted = true;
    memcpy(f->history.accepted_ak_name, f->host_id->ak_name, LT_TPM_NAME);
}

static void record_not_in_tree(struct forge *f)
{
    f->proof.record[60] ^= 1;
}

static void boot_log_lies(struct forge *f)
{
    f->host_log->replay.bank[0].value[3][0] ^= 1;
}

static void guest_boot_log_broken(struct forge *f)
{
    lt_boot_replay((struct lt_slice){f->log_g.p, f->log_g.n - 1}, &f->guest_log->replay);
}

/* ---- time ---- */

static void nonce_reused(struct forge *f)
{
    f->host.nonce_used = true;
}

static void time_runs_back(struct forge *f)
{
    f->host.t5_ms = f->host.t1_ms - 1;
}

static void window_at_limit(struct forge *f)
{
    f->host.t5_ms = f->host.t1_ms + LT_WINDOW_MS;
}

static void host_rebooted(struct forge *f)
{
    f->host_clock.reset_count++;
    f->host_clock.restart_count = 0;
}

static void host_clock_before(struct forge *f)
{
    f->host_history = (struct lt_history_host){.count = 1};
    f->host_history.entry[0].received_ms = FORGE_T1 - 1;
    f->host_history.entry[0].clock = f->host_clock;
    f->host_history.entry[0].clock.clock_ms++;
}

static void host_clock_same(struct forge *f)
{
    host_clock_before(f);
    f->host_history.entry[0].clock = f->host_clock;
}

/* Received after this round began: it says nothing about this round (overlapping rounds). */
static void host_clock_overlapping(struct forge *f)
{
    host_clock_before(f);
    f->host_history.entry[0].received_ms = FORGE_T1;
}

/* A legitimate reboot: resetCount rose, restartCount and clock fell. */
static void host_restart_fell(struct forge *f)
{
    host_clock_before(f);
    f->host_history.entry[0].clock.reset_count--;
    f->host_history.entry[0].clock.restart_count += 9;
}

static void guest_restart_fell(struct forge *f)
{
    f->history.has_clock = true;
    f->history.clock = (struct lt_attest_clock_info){9999999, f->guest_clock.reset_count - 1, 9, true};
}

static void accepted_before(struct forge *f)
{
    f->history.has_accepted = true;
    f->history.accepted_clock = f->guest_clock;
    f->history.accepted_clock.clock_ms -= 1000;
    memcpy(f->history.accepted_ak_name, f->host_id->ak_name, LT_TPM_NAME);
    memcpy(f->history.accepted_incarnation, f->record.incarnation, LT_RESIDENCY_INCARNATION);
}

static void young(struct forge *f)
{
    f->record.start_clock_ms = f->host_clock.clock_ms - 10;
}

static void young_at_limit(struct forge *f)
{
    f->record.start_clock_ms = f->host_clock.clock_ms - (2 * 400 + 2000);
}

static void incarnation_changed(struct forge *f)
{
    accepted_before(f);
    f->history.accepted_incarnation[0] ^= 1;
}

static void moved_here(struct forge *f)
{
    accepted_before(f);
    memset(f->history.accepted_ak_name, 0x77, LT_TPM_NAME);
}

static void handed_over(struct forge *f)
{
    f->record.flags |= LT_RESIDENCY_MOVED_IN;
    memset(f->record.previous_host_ak_name, 0x77, LT_TPM_NAME);
}

static void handed_over_by_another(struct forge *f)
{
    f->record.flags |= LT_RESIDENCY_MOVED_IN;
    memset(f->record.previous_host_ak_name, 0x78, LT_TPM_NAME);
}

static void name_without_flag(struct forge *f)
{
    memset(f->record.previous_host_ak_name, 0x77, LT_TPM_NAME);
}

static void moved_and_reset(struct forge *f)
{
    moved_here(f);
    f->history.accepted_clock.reset_count = f->guest_clock.reset_count - 1;
}

static const struct row {
    const char *name;
    void (*plan)(struct forge *f);
    void (*after)(struct forge *f);
    enum lt_verdict_result result;
    const char *reason, *states;
} rows[] = {
    {"guest AK unrestricted", guest_unrestricted, NULL, LT_VERDICT_FAILED, "guest-quote", GUEST_QUOTE},
    {"guest AK with decrypt", guest_decrypt, NULL, LT_VERDICT_FAILED, "guest-quote", GUEST_QUOTE},
    {"guest AK imported", guest_imported, NULL, LT_VERDICT_FAILED, "guest-quote", GUEST_QUOTE},
    {"guest AK in the owner hierarchy", guest_in_owner, NULL, LT_VERDICT_FAILED, "guest-quote", GUEST_QUOTE},
    {"guest AK not activated", NULL, activation_failed_g, LT_VERDICT_FAILED, "guest-quote", GUEST_QUOTE},
    {"host AK unrestricted", host_unrestricted, NULL, LT_VERDICT_FAILED, "host-identity", HOST_IDENTITY},
    {"host AK with decrypt", host_decrypt, NULL, LT_VERDICT_FAILED, "host-identity", HOST_IDENTITY},
    {"host AK without noDA", host_without_noda, NULL, LT_VERDICT_FAILED, "host-identity", HOST_IDENTITY},
    {"host AK in the owner hierarchy", host_in_owner, NULL, LT_VERDICT_FAILED, "host-identity",
     HOST_IDENTITY},
    {"host AK not activated", NULL, activation_failed_h, LT_VERDICT_FAILED, "host-identity", HOST_IDENTITY},
    {"guest attest is a certify", guest_certify, NULL, LT_VERDICT_FAILED, "guest-quote", GUEST_QUOTE},
    {"host attest is a certify", host_certify, NULL, LT_VERDICT_FAILED, "host-quote", HOST_QUOTE},
    {"host quote with PCR 16", host_with_pcr16, NULL, LT_VERDICT_FAILED, "host-quote", HOST_QUOTE},
    {"host quote without PCR 15", host_without_pcr15, NULL, LT_VERDICT_FAILED, "host-quote", HOST_QUOTE},
    {"host quote of another bank", host_sha1, NULL, LT_VERDICT_FAILED, "host-quote", HOST_QUOTE},
    {"host PCR value changed", NULL, other_pcr_value_h, LT_VERDICT_FAILED, "host-quote", HOST_QUOTE},
    {"PCR 13 empty", pcr13_empty, NULL, LT_VERDICT_FAILED, "host-identity", HOST_IDENTITY},
    {"PCR 13 foreign", pcr13_foreign, NULL, LT_VERDICT_FAILED, "host-identity", HOST_IDENTITY},
    {"blob's selection smaller", NULL, blob_drops_pcr, LT_VERDICT_FAILED, "guest-quote", GUEST_QUOTE},
    {"blob's selection larger", NULL, blob_adds_pcr, LT_VERDICT_FAILED, "guest-quote", GUEST_QUOTE},
    {"blob's PCRs renumbered", NULL, blob_renumbers, LT_VERDICT_FAILED, "guest-quote", GUEST_QUOTE},
    {"guest quote of another bank", another_bank, NULL, LT_VERDICT_FAILED, "guest-quote", GUEST_QUOTE},
    {"guest quote of two banks", two_banks, NULL, LT_VERDICT_FAILED, "guest-quote", GUEST_QUOTE},
    {"guest quote without PCR 16", no_pcr16, NULL, LT_VERDICT_FAILED, "guest-quote", GUEST_QUOTE},
    {"host_id of another host", foreign_host_id, NULL, LT_VERDICT_FAILED, "host-identity", HOST_IDENTITY},
    {"blob's value changed", NULL, blob_value, LT_VERDICT_FAILED, "guest-quote", GUEST_QUOTE},
    {"fewer PCRs than required", NULL, quotes_less, LT_VERDICT_FAILED, "guest-quote", GUEST_QUOTE},
    {"another transport key", NULL, other_transport_key, LT_VERDICT_FAILED, "guest-quote", GUEST_QUOTE},
    {"another tenant in the commitment", other_tenant, NULL, LT_VERDICT_FAILED, "batch-inclusion", BATCH},
    {"a batch node too many", NULL, batch_node_more, LT_VERDICT_FAILED, "batch-inclusion", BATCH},
    {"a batch node too few", NULL, batch_node_less, LT_VERDICT_FAILED, "batch-inclusion", BATCH},
    {"batch index beyond n", NULL, batch_index_beyond, LT_VERDICT_FAILED, "batch-inclusion", BATCH},
    {"a residency node too many", NULL, residency_node_more, LT_VERDICT_FAILED, "residency", RESIDENCY},
    {"a residency node too few", NULL, residency_node_less, LT_VERDICT_FAILED, "residency", RESIDENCY},
    {"residency index moved", NULL, residency_index_moved, LT_VERDICT_FAILED, "residency", RESIDENCY},
    {"record of another EK", other_ek, NULL, LT_VERDICT_UNCHECKED, "residency", RESIDENCY},
    {"record of another EK, again", other_ek, absent_before, LT_VERDICT_FAILED, "residency", RESIDENCY},
    {"record of another EK, of its host", other_ek, accepted_here, LT_VERDICT_FAILED, "residency", RESIDENCY},
    {"record of another EK and guest", other_ek_and_guest, NULL, LT_VERDICT_FAILED, "residency", RESIDENCY},
    {"record not in the tree", NULL, record_not_in_tree, LT_VERDICT_FAILED, "residency", RESIDENCY},
    {"host boot log lies", NULL, boot_log_lies, LT_VERDICT_FAILED, "host-policy", "PPPPPPF--P-"},
    {"guest boot log broken", NULL, guest_boot_log_broken, LT_VERDICT_FAILED, "guest-policy", "PPFPPPPPPPP"},
    {"nonce reused", NULL, nonce_reused, LT_VERDICT_STALE, "window", "PPPPPPPPPFP"},
    {"t5 before t1", NULL, time_runs_back, LT_VERDICT_UNCHECKED, "sandwich", "PPPPPPPPPFF"},
    {"window at its limit", NULL, window_at_limit, LT_VERDICT_TRUSTED, "", HEALTHY},
    {"host rebooted", host_rebooted, NULL, LT_VERDICT_UNCHECKED, "host-clock", HOST_CLOCK},
    {"host clock below an earlier one", NULL, host_clock_before, LT_VERDICT_UNCHECKED, "host-clock",
     HOST_CLOCK},
    {"host clock the same (one batch)", NULL, host_clock_same, LT_VERDICT_TRUSTED, "", HEALTHY},
    {"host clock of an overlapping round", NULL, host_clock_overlapping, LT_VERDICT_TRUSTED, "", HEALTHY},
    {"host reboot: restartCount fell", NULL, host_restart_fell, LT_VERDICT_TRUSTED, "", HEALTHY},
    {"guest reboot: restartCount fell", NULL, guest_restart_fell, LT_VERDICT_TRUSTED, "", HEALTHY},
    {"young, never seen", young, NULL, LT_VERDICT_UNCHECKED, "sandwich", "PPPPPPPPPPF"},
    {"young, seen before", young, accepted_before, LT_VERDICT_TRUSTED, "", HEALTHY},
    {"old enough", young_at_limit, NULL, LT_VERDICT_TRUSTED, "", HEALTHY},
    {"incarnation changed, young", young, incarnation_changed, LT_VERDICT_UNCHECKED, "sandwich",
     "PPPPPPPPPPF"},
    {"incarnation changed, old", NULL, incarnation_changed, LT_VERDICT_TRUSTED, "", HEALTHY},
    {"elsewhere without hand-over", NULL, moved_here, LT_VERDICT_FAILED, "residency", RESIDENCY},
    {"elsewhere, handed over by another", handed_over_by_another, moved_here, LT_VERDICT_FAILED, "residency",
     RESIDENCY},
    {"elsewhere, named but no flag", name_without_flag, moved_here, LT_VERDICT_FAILED, "residency",
     RESIDENCY},
    {"handed over", handed_over, moved_here, LT_VERDICT_TRUSTED, "", HEALTHY},
    {"elsewhere, but reset since", NULL, moved_and_reset, LT_VERDICT_TRUSTED, "", HEALTHY},
};

static void attacks(void **state)
{
    (void)state;
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        struct forge f;
        forge_init(&f);
        if (rows[i].plan)
            rows[i].plan(&f);
        forge_build(&f);
        if (rows[i].after)
            rows[i].after(&f);
        forge_expect(&f, rows[i].name, rows[i].result, rows[i].reason, rows[i].states);
        forge_free(&f);
    }
}

/* Host B is healthy and on policy, and answers for a guest that runs elsewhere. */
static void another_healthy_host(void **state)
{
    struct forge a, b;
    struct lt_proof own;

    (void)state;
    forge_init(&a);
    forge_build(&a);
    forge_init(&b);
    forge_second_host(&b);
    memcpy(b.nonce, a.nonce, sizeof b.nonce);
    b.listed = false;
    forge_build(&b);
    forge_expect(&b, "not resident there", LT_VERDICT_UNCHECKED, "residency", RESIDENCY);
    b.history.absent_before = true;
    forge_expect(&b, "again", LT_VERDICT_FAILED, "residency", RESIDENCY);
    b.history.absent_before = false;

    /* with the residency proof of A beside the quote of B */
    own = b.proof;
    b.proof.resident = true;
    b.proof.residency = a.proof.residency;
    memcpy(b.proof.record, a.proof.record, LT_RESIDENCY_RECORD);
    b.proof.record_n = a.proof.record_n;
    forge_expect(&b, "residency of the other host", LT_VERDICT_FAILED, "residency", RESIDENCY);
    b.proof = own;

    /* the quote of B under the name of A, and the AK of B under the EK of A */
    b.host.identity = a.host_id;
    forge_expect(&b, "quote under another AK", LT_VERDICT_FAILED, "host-quote", HOST_QUOTE);
    struct lt_checks_identity_host *mixed = lt_checks_identity_host_new(
        (struct lt_slice){a.ek_h.p, a.ek_h.n}, (struct lt_slice){b.ak_h.p, b.ak_h.n});
    mixed->activated = mixed->in_registry = mixed->certificate = LT_CHECKS_FACT_YES;
    b.host.identity = mixed;
    forge_expect(&b, "AK of one host, EK of another", LT_VERDICT_FAILED, "host-identity", HOST_IDENTITY);
    lt_checks_identity_host_free(mixed);
    forge_free(&a);
    forge_free(&b);
}

/* Yesterday's proof replayed for today's nonce. */
static void replayed_proof(void **state)
{
    struct forge old, now;

    (void)state;
    forge_init(&old);
    forge_build(&old);
    forge_init(&now);
    now.guest_clock.clock_ms += 60000;
    forge_build(&now);
    now.host.quote = &old.quote;
    now.host.proof = &old.proof;
    forge_expect(&now, "replay", LT_VERDICT_FAILED, "batch-inclusion", BATCH);
    forge_free(&old);
    forge_free(&now);
}

/* Two rounds under way at once are judged on what was known when each began. */
static void overlapping_rounds(void **state)
{
    struct lt_history_guest h = {0}, at_a, at_b;
    struct forge a, b;

    (void)state;
    at_a = at_b = h;
    forge_init(&a);
    young(&a);
    forge_build(&a);
    forge_init(&b);
    b.guest_clock.clock_ms += 5;
    young(&b);
    forge_build(&b);
    b.history = at_b;
    forge_expect(&b, "b ends first", LT_VERDICT_UNCHECKED, "sandwich", "PPPPPPPPPPF");
    lt_history_guest_learn(&h, &b.facts);
    a.history = at_a;
    forge_expect(&a, "a, older evidence, ends later", LT_VERDICT_UNCHECKED, "sandwich", "PPPPPPPPPPF");
    lt_history_guest_learn(&h, &a.facts);
    assert_int_equal(h.clock.clock_ms, b.guest_clock.clock_ms);
    assert_int_equal(h.accepted_clock.clock_ms, b.guest_clock.clock_ms);
    a.history = h;
    forge_expect(&a, "a, as if begun afterwards", LT_VERDICT_FAILED, "guest-clock", "PFPPPPPPPPP");
    forge_free(&a);

    forge_init(&a);
    a.guest_clock.clock_ms += 10;
    young(&a);
    forge_build(&a);
    a.history = h;
    forge_expect(&a, "the next one", LT_VERDICT_TRUSTED, "", HEALTHY);
    forge_free(&a);
    forge_free(&b);
}

/* The cache spares check 5 and nothing else. */
static void cached_quote(void **state)
{
    struct lt_result_cache *cache = lt_host_quote_cache_new();
    struct forge f;

    (void)state;
    forge_init(&f);
    forge_build(&f);
    f.host.cache = cache;
    f.quote.signature[20] ^= 1;
    forge_expect(&f, "a failure is not cached", LT_VERDICT_FAILED, "host-quote", HOST_QUOTE);
    forge_expect(&f, "a failure is not cached", LT_VERDICT_FAILED, "host-quote", HOST_QUOTE);
    f.quote.signature[20] ^= 1;
    for (int i = 0; i < 2; i++)
        forge_expect(&f, "cached", LT_VERDICT_TRUSTED, "", HEALTHY);
    f.proof.batch.index ^= 1;
    forge_expect(&f, "cached, index moved", LT_VERDICT_FAILED, "batch-inclusion", BATCH);
    f.proof.batch.index ^= 1;
    f.host_id->in_registry = LT_CHECKS_FACT_NO;
    forge_expect(&f, "cached, not in registry", LT_VERDICT_UNCHECKED, "not-in-registry", "PPPPP----P-");
    f.host_id->in_registry = LT_CHECKS_FACT_YES;
    f.host_id->activated = LT_CHECKS_FACT_NO;
    forge_expect(&f, "cached, not activated", LT_VERDICT_FAILED, "host-identity", HOST_IDENTITY);
    f.host_id->activated = LT_CHECKS_FACT_YES;
    f.quote.pcrs.value[2][0] ^= 1;
    forge_expect(&f, "cached, PCR value", LT_VERDICT_FAILED, "host-quote", HOST_QUOTE);
    f.quote.pcrs.value[2][0] ^= 1;
    f.quote.signature[20] ^= 1;
    forge_expect(&f, "cached, signature", LT_VERDICT_FAILED, "host-quote", HOST_QUOTE);
    forge_free(&f);
    lt_result_cache_free(cache);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(attacks),        cmocka_unit_test(another_healthy_host),
        cmocka_unit_test(replayed_proof), cmocka_unit_test(overlapping_rounds),
        cmocka_unit_test(cached_quote),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
