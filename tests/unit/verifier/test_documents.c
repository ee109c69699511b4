#include "verifier/documents.h"

#include "common/file.h"
#include "tests/support/appraisal/ima_lines.h"
#include "tests/support/unit.h"

#include <ftw.h>
#include <stdlib.h>
#include <unistd.h>

static char dir[64], tables[96], fetched[96], db[96];
static struct lt_store *store;

static int setup(void **state)
{
    const char *tmp = getenv("TMPDIR");
    (void)state;
    snprintf(dir, sizeof dir, "%.30s/documents-XXXXXX", tmp ? tmp : "/tmp");
    assert_non_null(mkdtemp(dir));
    snprintf(tables, sizeof tables, "%s/tables", dir);
    snprintf(fetched, sizeof fetched, "%s/fetched", dir);
    snprintf(db, sizeof db, "%s/t.db", dir);
    OK(lt_store_open(db, NULL, NULL, &store, &err));
    return 0;
}

static int remove_one(const char *path, const struct stat *st, int type, struct FTW *ftw)
{
    (void)st, (void)type, (void)ftw;
    return remove(path);
}

static int teardown(void **state)
{
    (void)state;
    lt_store_close(store);
    return nftw(dir, remove_one, 16, FTW_DEPTH | FTW_PHYS);
}

static struct lt_documents *open_all(size_t max)
{
    const struct lt_documents_conf c = {
        .tables = tables, .fetched = fetched, .max_fetched = max, .store = store};
    struct lt_documents *d;
    OK(lt_documents_new(&c, &d, &err));
    return d;
}

static int bring(struct lt_documents *d, const char *name, struct lt_policy_measured *p)
{
    const char *const paths[] = {name, NULL};
    LT_AUTOBUF struct lt_buf b = LT_BUF(65536);

    ima_policy(&b, paths, NULL);
    memset(p, 0, sizeof *p);
    p->layer_count = 1;
    strcpy(p->layer[0].name, "layer");
    return lt_documents_put_fetched(d, b.p, b.n, p->layer[0].policy, &err);
}

/* Those in use stay, whatever comes; those that nobody uses make room; the store never sees any. */
static void fetched_documents_have_a_ceiling(void **state)
{
    struct lt_policy_measured first, p;
    struct lt_documents_document_set used, other;
    struct lt_documents *d = open_all(SIZE_MAX >> 1);
    uint8_t *bytes;
    size_t n;
    (void)state;

    OK(bring(d, "/bin/first", &first));
    size_t one = lt_documents_fetched(d);
    assert_true(one > 0);
    assert_int_equal(lt_store_policy_get(store, first.layer[0].policy, &bytes, &n, &err), LT_E_NOT_FOUND);
    lt_documents_free(d);

    d = open_all(2 * one + one / 2);
    OK(lt_documents_open(d, &first, &used, &err)); /* found again after a restart */
    for (int i = 0; i < 20; i++) {
        char name[32];
        snprintf(name, sizeof name, "/bin/%05d", i);
        OK(bring(d, name, &p));
        assert_true(lt_documents_fetched(d) <= 2 * one + one / 2);
    }
    OK(lt_documents_open(d, &p, &other, &err));
    assert_int_equal(bring(d, "/bin/third", &p), LT_E_TOO_LARGE); /* both are in use */
    lt_documents_document_set_free(&other);
    OK(bring(d, "/bin/third", &p));
    OK(lt_documents_bytes(d, first.layer[0].policy, &bytes, &n, &err));
    free(bytes);
    lt_documents_document_set_free(&used);
    lt_documents_collect(d);
    assert_int_equal(lt_documents_fetched(d), 0);
    assert_int_equal(lt_documents_open(d, &first, &used, &err), LT_E_NOT_FOUND);
    lt_documents_document_set_free(&used);
    lt_documents_free(d);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(fetched_documents_have_a_ceiling, setup, teardown)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
