lt_unit_test(keylime/test_add lt_keylime)
lt_unit_test(keylime/test_notice lt_keylime)
lt_unit_test(keylime/test_share lt_keylime)
lt_unit_test(keylime/test_states lt_keylime)
