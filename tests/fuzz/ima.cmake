foreach(target ima imakeys)
    lt_fuzz_target(${target} lt_checks)
endforeach()
