foreach(target imatable imatable_bytes dsse)
    lt_fuzz_target(${target} lt_checks)
endforeach()
