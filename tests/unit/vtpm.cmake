# Drives an inventory for tests/integration/test_vtpm_inventory.py.
add_executable(inventory-shell ../support/vtpm/inventory-shell.c)
target_link_libraries(inventory-shell PRIVATE lt_vtpm lt_daemon)
