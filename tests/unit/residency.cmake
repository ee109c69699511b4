lt_unit_test(residency/test_residency lt_residency)
lt_unit_test(residency/test_proof lt_residency)
lt_unit_test(residency/test_openers lt_residency lt_vtpm_seal)
lt_unit_test(residency/test_bundle lt_forge)
