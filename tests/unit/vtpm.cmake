lt_unit_test(vtpm/test_domain lt_vtpm_domain)
lt_unit_test(vtpm/test_define lt_vtpm_domain)
lt_unit_test(vtpm/test_sockets lt_vtpm)
lt_unit_test(vtpm/test_birth lt_vtpm lt_vtpm_ekcert lt_http)
lt_unit_test(vtpm/test_ek lt_vtpm)
lt_unit_test(vtpm/test_wall lt_vtpm)
lt_unit_test(vtpm/test_blob lt_vtpm)
lt_unit_test(vtpm/test_statedir lt_vtpm)
lt_unit_test(vtpm/test_scratch lt_vtpm)
lt_unit_test(vtpm/test_sealed lt_vtpm lt_vtpm_domain)
lt_unit_test(vtpm/test_table lt_vtpm)
target_include_directories(test_vtpm_table PRIVATE ${LIBVIRT_INCLUDE_DIRS})

# Drives an inventory for tests/integration/test_vtpm_inventory.py.
add_executable(inventory-shell ../support/vtpm/inventory-shell.c ../support/vtpm/sealing.c)
target_link_libraries(inventory-shell PRIVATE lt_vtpm lt_vtpm_domain lt_http)
if(LT_SANITIZE)
    # The sanitizers' stand-ins for the XDR functions of libtirpc look for the real ones when the program starts, which
    # is before libvirt is loaded.
    target_link_libraries(inventory-shell PRIVATE -Wl,--no-as-needed PkgConfig::LIBVIRT)
endif()
