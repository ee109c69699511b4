lt_unit_test(test_merkle lt_merkle)
