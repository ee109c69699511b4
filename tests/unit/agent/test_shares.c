/* Shares that wait for their other half, and the transport key: kept, found again, and nothing of a torn
 * file. */
#include "agent/secure.h"
#include "agent/shares.h"
#include "agent/transport.h"
#include "common/file.h"
#include "tests/support/unit.h"

#include <dirent.h>
#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#define ID "tenant-a.vm-0001"

static char top[] = "/tmp/lt-shares-XXXXXX";
static int fd;

/* One payload key. */
struct key {
    struct lt_share k, u, v;
    uint8_t tag[LT_SHARE_TAG];
};

static struct key key(const char *id)
{
    struct key x;

    lt_share_draw(&x.k, &x.u, &x.v);
    lt_share_tag(&x.k, id, x.tag);
    return x;
}

static const struct lt_slice none, secret = {(const uint8_t *)"sealed", 6};

static void add_u(struct lt_shares *s, const struct key *x, struct lt_slice payload)
{
    OK(lt_shares_add_u(s, &x->u, x->tag, payload, &err));
}

static void add_v(struct lt_shares *s, const struct key *x)
{
    OK(lt_shares_add_v(s, &x->v, &err));
}

static unsigned files(void)
{
    DIR *d = opendir(top);
    unsigned n = 0;

    for (struct dirent *x; (x = readdir(d));)
        n += x->d_name[0] != '.';
    closedir(d);
    return n;
}

static void assert_takes(struct lt_shares *s, const struct key *x, bool has_payload)
{
    struct lt_shares_match m;

    assert_true(lt_shares_take(s, ID, &m));
    assert_memory_equal(m.k.p, x->k.p, 32);
    assert_int_equal(m.has_payload, has_payload);
    if (has_payload) {
        LT_AUTOFREE uint8_t *p = NULL;
        size_t n;
        OK(lt_shares_payload(s, &m, &p, &n, &err));
        assert_int_equal(n, secret.n);
        assert_memory_equal(p, secret.p, n);
    }
    assert_false(lt_shares_take(s, ID, &m)); /* both lists are empty now */
    lt_shares_forget(s, UINT64_MAX);
    assert_int_equal(files(), 0);
}

static void in_either_order_and_after_a_restart(void **state)
{
    (void)state;
    for (unsigned i = 0; i < 16; i++) {
        bool u_first = i & 1, payload = i & 2, restart = i & 4, again = i & 8;
        struct key x = key(ID);
        struct lt_shares *s = lt_shares_open(top, fd);
        struct lt_shares_match m;

        u_first ? add_u(s, &x, payload ? secret : none) : add_v(s, &x);
        assert_false(lt_shares_take(s, ID, &m));
        if (restart) {
            lt_shares_close(s);
            s = lt_shares_open(top, fd);
        }
        u_first ? add_v(s, &x) : add_u(s, &x, payload ? secret : none);
        if (again) { /* killed when a pair was found and not done with: it is found again */
            assert_true(lt_shares_take(s, ID, &m));
            lt_shares_close(s);
            s = lt_shares_open(top, fd);
        }
        assert_takes(s, &x, payload);
        lt_shares_close(s);
    }
}

static void all_pairs(void **state)
{
    (void)state;
    struct lt_shares *s = lt_shares_open(top, fd);
    struct key x[LT_MAX_SHARES];
    struct lt_shares_match m;

    for (unsigned i = 0; i < LT_MAX_SHARES; i++) {
        x[i] = key(i == 1 ? ID : "another-agent");
        add_u(s, &x[i], secret);
    }
    for (unsigned i = 0; i < LT_MAX_SHARES; i++) {
        assert_false(lt_shares_take(s, ID, &m));
        add_v(s, &x[LT_MAX_SHARES - 1 - i]);
        if (LT_MAX_SHARES - 1 - i == 1)
            break;
    }
    assert_takes(s, &x[1], true);
    lt_shares_close(s);
}

static void the_oldest_makes_way(void **state)
{
    (void)state;
    struct lt_shares *s = lt_shares_open(top, fd);
    struct key x[LT_MAX_SHARES + 2];
    struct lt_shares_match m;

    for (unsigned i = 0; i < LT_MAX_SHARES + 2; i++) {
        x[i] = key(ID);
        add_u(s, &x[i], secret);
        add_u(s, &x[i], secret); /* the same again takes no place of another */
    }
    assert_int_equal(files(), 2 * LT_MAX_SHARES);
    add_v(s, &x[0]);
    add_v(s, &x[1]);
    add_v(s, &x[1]);
    assert_int_equal(files(), 2 * LT_MAX_SHARES + 2);
    assert_false(lt_shares_take(s, ID, &m));
    add_v(s, &x[2]);
    assert_takes(s, &x[2], true);
    lt_shares_close(s);
}

static void what_came_later_stays(void **state)
{
    (void)state;
    struct lt_shares *s = lt_shares_open(top, fd);
    struct key x = key(ID), y = key(ID);
    struct lt_shares_match m;

    add_u(s, &x, none);
    add_v(s, &x);
    assert_true(lt_shares_take(s, ID, &m));
    add_u(s, &y, secret);
    lt_shares_forget(s, m.last);
    assert_int_equal(files(), 2);
    add_v(s, &y);
    assert_takes(s, &y, true);
    lt_shares_close(s);
}

static void sizes_do_not_mix(void **state)
{
    (void)state;
    struct lt_shares *s = lt_shares_open(top, fd);
    struct key x = key(ID);
    struct lt_shares_match m;

    x.v.n = 16;
    add_u(s, &x, none);
    add_v(s, &x);
    assert_false(lt_shares_take(s, ID, &m));
    lt_shares_forget(s, UINT64_MAX);
    lt_shares_close(s);
}

static void torn_files_are_dropped(void **state)
{
    (void)state;
    static const char *const names[] = {"u-0000000000000001", "v-0000000000000002",
                                        "v-0000000000000003.abcdefghijkl"};

    for (size_t n = 0; n < LT_SHARE_TAG + 1 + 16; n++) {
        uint8_t p[128] = {0};
        for (size_t i = 0; i < 3; i++) {
            LT_AUTOFREE char *path = lt_file_path(top, names[i]);
            if (!(n == 16 || n == 32) || i != 1) /* that is a share */
                OK(lt_file_replace(path, p, n, 0600, &err));
        }
        struct lt_shares *s = lt_shares_open(top, fd);
        assert_int_equal(files(), 0);
        lt_shares_close(s);
    }
    LT_AUTOFREE char *open_one = lt_file_path(top, names[1]),
                     *foreign = lt_file_path(top, "u-00000000000000zz");
    OK(lt_file_replace(open_one, "0123456789abcdef", 16, 0644, &err)); /* others could read it */
    OK(lt_file_replace(foreign, "", 0, 0600, &err));
    struct lt_shares *s = lt_shares_open(top, fd);
    assert_int_equal(files(), 1); /* what is not ours stays */
    lt_shares_close(s);
    assert_int_equal(unlink(foreign), 0);
}

static void transport_key_is_kept(void **state)
{
    (void)state;
    LT_AUTOFREE char *path = lt_file_path(top, "transport.pem");
    struct lt_transport one, two, three;
    struct stat st;

    OK(lt_transport_open(top, &one, &err));
    assert_int_equal(stat(path, &st), 0);
    assert_int_equal(st.st_mode & 07777, 0600);
    OK(lt_transport_open(top, &two, &err));
    assert_string_equal(one.pem, two.pem);
    assert_memory_equal(one.digest, two.digest, 32);
    OK(lt_transport_open(NULL, &three, &err));
    assert_string_not_equal(one.pem, three.pem);
    lt_transport_close(&two);
    lt_transport_close(&three);
    for (off_t n = 0; n < st.st_size - 2; n += 97) {
        assert_int_equal(truncate(path, n), 0);
        OK(lt_transport_open(top, &two, &err));
        assert_string_not_equal(one.pem, two.pem);
        lt_transport_close(&two);
        if (n == 194)
            break;
    }
    assert_int_equal(chmod(path, 0640), 0); /* others had it: no key any more */
    OK(lt_transport_open(top, &three, &err));
    OK(lt_transport_open(top, &two, &err));
    assert_string_equal(two.pem, three.pem);
    lt_transport_close(&one);
    lt_transport_close(&two);
    lt_transport_close(&three);
    assert_int_equal(unlink(path), 0);
}

static int make_top(void **state)
{
    (void)state;
    fd = mkdtemp(top) ? open(top, O_RDONLY | O_DIRECTORY) : -1;
    return fd < 0;
}

static int remove_top(void **state)
{
    (void)state;
    close(fd);
    return rmdir(top);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(in_either_order_and_after_a_restart),
        cmocka_unit_test(all_pairs),
        cmocka_unit_test(the_oldest_makes_way),
        cmocka_unit_test(what_came_later_stays),
        cmocka_unit_test(sizes_do_not_mix),
        cmocka_unit_test(torn_files_are_dropped),
        cmocka_unit_test(transport_key_is_kept),
    };
    return cmocka_run_group_tests(tests, make_top, remove_top);
}
