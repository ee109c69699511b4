lt_unit_test(test_residency lt_residency)
lt_unit_test(test_proof lt_residency)
lt_unit_test(test_bundle lt_forge)
