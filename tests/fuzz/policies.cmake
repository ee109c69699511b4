foreach(target imatable imatable_bytes dsse from_keylime)
    lt_fuzz_target(${target} lt_checks)
endforeach()
