# imalist.c: IMA lists made to order, shared by the tests of appraisal/ima*.c.
add_library(lt_imalist STATIC imalist.c)
target_link_libraries(lt_imalist PUBLIC lt_appraisal PkgConfig::CMOCKA)
foreach(name test_imaline test_imakeys test_ima test_ima_judge test_logkind test_ima_cases test_imalearn)
    lt_unit_test(${name} lt_imalist)
endforeach()
lt_unit_test(test_ima_real lt_imalist)
