lt_bench(bench_policy lt_appraisal)
if(NOT LT_SANITIZE) # its bound is for code as it ships
    add_test(NAME bench.policy COMMAND bench_policy --quick)
    set_tests_properties(bench.policy PROPERTIES LABELS bench TIMEOUT 120)
endif()
