/* The mock host (mock_agent.h) as a program, for labs without virtual machines: a real provider enrols it,
 * and its inventory and its PCR 4 are what a file says.
 *
 *   mock-host make DIR                     keys; prints {"host","ek_digest","ek":PEM}
 *   mock-host serve DIR --ready-fd N       DIR/ca.pem, host.pem, host.key (the federation's), ek-cert.pem
 *
 * DIR/residents.json: {"seq":N,"pcr4":hex|null,"residents":[{"uuid","ek_digest"}…]}; read at the start and on
 * SIGHUP, which is told on standard error ("residents N"). TERM ends it. */
#include "tests/support/mock_agent.h"

#include "common/file.h"
#include "tests/support/softkey.h"

#include <openssl/pem.h>
#include <signal.h>
#include <unistd.h>

static char *path_in(const char *dir, const char *name)
{
    return lt_file_path(dir, name);
}

static void save_key(const char *dir, const char *name, EVP_PKEY *key)
{
    LT_AUTOFREE char *path = path_in(dir, name);
    FILE *f = fopen(path, "w");
    assert_non_null(f);
    assert_int_equal(PEM_write_PrivateKey(f, key, NULL, NULL, 0, NULL, NULL), 1);
    fclose(f);
}

static EVP_PKEY *load_key(const char *dir, const char *name)
{
    LT_AUTOFREE char *path = path_in(dir, name);
    FILE *f = fopen(path, "r");
    assert_non_null(f);
    EVP_PKEY *key = PEM_read_PrivateKey(f, NULL, NULL, NULL);
    fclose(f);
    assert_non_null(key);
    return key;
}

static int make(const char *dir)
{
    struct mock_host h;
    BIO *b = BIO_new(BIO_s_mem());
    char *pem;

    mock_host_init(&h);
    save_key(dir, "ek.key", h.ek_key);
    save_key(dir, "ak.key", h.ak_key);
    assert_int_equal(PEM_write_bio_PUBKEY(b, h.ek_key), 1);
    long n = BIO_get_mem_data(b, &pem);
    json_t *j = json_pack("{s:o, s:o, s:s#}", "host", lt_json_new_hex(h.host_id, 16), "ek_digest",
                          lt_json_new_hex(h.ek_digest, 32), "ek", pem, (int)n);
    LT_AUTOFREE char *text = lt_json_dump(j);
    puts(text);
    json_decref(j);
    BIO_free(b);
    mock_host_free(&h);
    return 0;
}

static json_t *read_residents(const char *dir)
{
    LT_AUTOFREE char *path = path_in(dir, "residents.json");
    LT_AUTOFREE uint8_t *p = NULL;
    size_t n;

    OK(lt_file_read(path, 1u << 20, &p, &n, &err));
    json_t *j = lt_json_parse(p, n, n, &err);
    assert_non_null(j);
    return j;
}

static void one_resident(struct mock_host *h, const json_t *from)
{
    struct lt_residency_record r = {.start_reset = h->reset_count, .flags = LT_RESIDENCY_RUNNING};

    OK(lt_json_uuid(from, "uuid", r.guest_uuid, &err));
    OK(lt_json_hex(from, "ek_digest", r.ek_digest, sizeof r.ek_digest, &err));
    memcpy(r.incarnation, r.ek_digest, sizeof r.incarnation);
    memset(r.firmware_digest, 0xf1, sizeof r.firmware_digest);
    memset(r.domain_digest, 0xd0, sizeof r.domain_digest);
    h->records[h->count++] = r;
}

static int by_ek(const void *a, const void *b)
{
    return memcmp(((const struct lt_residency_record *)a)->ek_digest,
                  ((const struct lt_residency_record *)b)->ek_digest, 32);
}

static void reload(struct mock_agent *a, const char *dir, const uint8_t pcr4[32])
{
    LT_JSON_AUTO json_t *j = read_residents(dir);
    json_t *list, *one;
    size_t i;

    OK(lt_json_array(j, "residents", LT_MAX_INVENTORY, &list, &err));
    pthread_mutex_lock(&a->lock);
    struct mock_host *h = &a->host;
    free(h->records);
    lt_merkle_free(h->tree);
    h->records = calloc(json_array_size(list) + 1, sizeof *h->records);
    h->count = 0;
    json_array_foreach(list, i, one) one_resident(h, one);
    qsort(h->records, h->count, sizeof *h->records, by_ek);
    h->inventory_seq++;
    OK(lt_residency_inventory_tree(h->records, h->count, &h->tree, &err));
    memcpy(h->pcrs.value[4], pcr4, 32);
    if (lt_json_has(j, "pcr4"))
        OK(lt_json_hex(j, "pcr4", h->pcrs.value[4], 32, &err));
    pthread_mutex_unlock(&a->lock);
    fprintf(stderr, "residents %lld\n", json_integer_value(json_object_get(j, "seq")));
}

static int serve(const char *dir, int ready)
{
    static struct mock_agent a;
    LT_AUTOFREE char *cert = path_in(dir, "ek-cert.pem");
    uint8_t pcr4[32];
    sigset_t set;
    size_t n;
    int sig;

    sigemptyset(&set);
    sigaddset(&set, SIGHUP);
    sigaddset(&set, SIGTERM);
    assert_int_equal(pthread_sigmask(SIG_BLOCK, &set, NULL), 0);
    mock_host_from(&a.host, load_key(dir, "ek.key"), load_key(dir, "ak.key"));
    OK(lt_file_read(cert, 65536, (uint8_t **)&a.host.ek_certificate, &n, &err));
    memcpy(pcr4, a.host.pcrs.value[4], sizeof pcr4);
    mock_agent_start(&a, dir, "host");
    reload(&a, dir, pcr4);
    dprintf(ready, "{\"listen\":\"%s\"}\n", mock_agent_address(&a));
    close(ready);
    while (!sigwait(&set, &sig) && sig == SIGHUP)
        reload(&a, dir, pcr4);
    mock_agent_stop(&a);
    mock_host_free(&a.host);
    return 0;
}

int main(int argc, char **argv)
{
    if (argc == 3 && !strcmp(argv[1], "make"))
        return make(argv[2]);
    if (argc == 5 && !strcmp(argv[1], "serve") && !strcmp(argv[3], "--ready-fd"))
        return serve(argv[2], (int)strtol(argv[4], NULL, 10));
    fprintf(stderr, "usage: mock-host make DIR | mock-host serve DIR --ready-fd N\n");
    return 2;
}
