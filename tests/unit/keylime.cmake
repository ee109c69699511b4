lt_unit_test(keylime/test_notice lt_keylime)
lt_unit_test(keylime/test_share lt_keylime)
