# imalist.c: IMA lists made to order, shared by the tests of appraisal/ima/.
add_library(lt_imalist STATIC ../support/appraisal/imalist.c)
target_link_libraries(lt_imalist PUBLIC lt_checks PkgConfig::CMOCKA)
foreach(name appraisal/ima/test_line appraisal/ima/test_keys appraisal/ima/test_replay appraisal/ima/test_judge appraisal/policy/test_log_kind appraisal/ima/test_cases appraisal/ima/test_learn)
    lt_unit_test(${name} lt_imalist)
endforeach()
lt_unit_test(appraisal/ima/test_real lt_imalist)
