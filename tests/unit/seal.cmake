lt_unit_test(vtpm/seal/test_entry lt_vtpm_seal)
lt_unit_test(vtpm/seal/test_key lt_vtpm_seal)
lt_unit_test(vtpm/seal/test_vaultfile lt_vtpm_seal)
lt_unit_test(vtpm/seal/test_change lt_vtpm_seal)
