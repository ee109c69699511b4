foreach(target attest public signature quote credential)
    lt_fuzz_target(${target} lt_tpm)
endforeach()
lt_fuzz_target(json lt_common)
