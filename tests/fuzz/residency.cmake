lt_fuzz_target(record lt_residency)
