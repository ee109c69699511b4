foreach(target bundle bootlog policy)
    lt_fuzz_target(${target} lt_checks)
endforeach()
