lt_unit_test(merkle/test_merkle lt_merkle)
