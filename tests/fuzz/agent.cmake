lt_fuzz_target(unpack lt_agent)
