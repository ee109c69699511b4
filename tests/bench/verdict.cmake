# lt_forge comes with the unit tests: a round of software keys.
lt_bench(bench_quote lt_forge lt_keylime)
lt_bench(bench_verdict lt_forge)
if(NOT LT_SANITIZE)
    foreach(name quote verdict)
        add_test(NAME bench.${name} COMMAND bench_${name} --quick)
        set_tests_properties(bench.${name} PROPERTIES LABELS bench TIMEOUT 60)
    endforeach()
endif()
