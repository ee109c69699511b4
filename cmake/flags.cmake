# Compiler and linker flags. What a compiler may not know is probed: gcc 12 has flags clang 14 lacks.
include(CheckCCompilerFlag)
include(CheckCSourceCompiles)
include(GNUInstallDirs)

set(CMAKE_C_STANDARD 11)
set(CMAKE_C_EXTENSIONS ON)
set(CMAKE_EXPORT_COMPILE_COMMANDS ON)
option(LT_WERROR "treat warnings as errors" OFF)
option(LT_HARDEN "hardening flags of a release" OFF)
option(LT_ANALYZE "gcc's analyzer over the product; builds no tests" OFF)
option(LT_FUZZ "build libFuzzer targets (clang)" OFF)
set(LT_SANITIZE "" CACHE STRING "value of -fsanitize=")

add_compile_definitions(_GNU_SOURCE LT_VERSION="${PROJECT_VERSION}")
include_directories(${CMAKE_SOURCE_DIR})
add_compile_options(-Wall -Wextra -Wshadow -Wstrict-prototypes -Wmissing-prototypes -Wpointer-arith
    -Wformat=2 -Wvla -Wundef -fno-common -g)
if(LT_WERROR)
    add_compile_options(-Werror)
endif()
if(LT_SANITIZE)
    add_compile_options(-fsanitize=${LT_SANITIZE} -fno-omit-frame-pointer -fno-sanitize-recover=all)
    add_link_options(-fsanitize=${LT_SANITIZE})
endif()
if(LT_ANALYZE)
    # Off: leaks, for it loses sight of what tsearch or a pointer made of an offset takes (LeakSanitizer looks for them).
    add_compile_options(-fanalyzer -Wno-analyzer-malloc-leak)
    add_compile_definitions(LT_ANALYZE)
endif()
if(LT_FUZZ) # libFuzzer sees only what it is told of
    add_compile_options(-fsanitize=fuzzer-no-link)
    add_link_options(-fsanitize=fuzzer-no-link)
endif()
if(LT_HARDEN)
    # Level 3 checks sizes that are known only when the program runs. A compiler or libc without it warns, and
    # checks as at 2.
    set(CMAKE_REQUIRED_FLAGS "-O2 -U_FORTIFY_SOURCE -D_FORTIFY_SOURCE=3")
    check_c_source_compiles("#include <features.h>
        _Static_assert(__USE_FORTIFY_LEVEL == 3, \"checks as at 2\");
        int main(void) { return 0; }" LT_HAS_FORTIFY_3)
    unset(CMAKE_REQUIRED_FLAGS)
    add_compile_options(-U_FORTIFY_SOURCE -D_FORTIFY_SOURCE=$<IF:$<BOOL:${LT_HAS_FORTIFY_3}>,3,2>
        -fstack-protector-strong)
    add_link_options(-Wl,-z,relro,-z,now)
    set(CMAKE_POSITION_INDEPENDENT_CODE ON)
    foreach(flag -ftrivial-auto-var-init=zero -fzero-call-used-regs=used-gpr -fstack-clash-protection
                 -fcf-protection=full)
        string(MAKE_C_IDENTIFIER "LT_HAS${flag}" have)
        check_c_compiler_flag(${flag} ${have})
        if(${have})
            add_compile_options(${flag})
        endif()
    endforeach()
endif()

# For rooms that work on a peer's numbers: what may lose a bit or turn a sign is an error, in every build.
function(lt_exact target)
    target_compile_options(${target} PRIVATE -Werror=conversion -Werror=sign-conversion)
endfunction()
