lt_bench(bench_bootlog lt_boot_forge PkgConfig::CRYPTO)
add_test(NAME bench.bootlog COMMAND bench_bootlog --quick)
set_tests_properties(bench.bootlog PROPERTIES LABELS bench TIMEOUT 60)
