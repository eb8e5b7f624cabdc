# infenclave_library(NAME [TCB] SOURCES ... [DEPS module...] [LINK target...])
#   One library per module, infenclave_NAME, of the files in src/NAME. DEPS are other modules, all of which must come
#   earlier in INFENCLAVE_MODULES. LINK are libraries from outside. A TCB module may depend only on TCB modules, and
#   link only what is on the list below: everything there is code that the enclave trusts.
# infenclave_test(NAME SOURCES ... [DEPS module...] [LINK target...])
#   A GoogleTest executable, each TEST registered with ctest. Tests read shared test data from INFENCLAVE_SHARED.
# infenclave_python_test(NAME SCRIPT)
#   A unittest script, run with the interpreter INFENCLAVE_PYTHON that has the packages of tests/requirements.txt (./dev
#   makes it). It finds INFENCLAVE_SHARED, INFENCLAVE_BINARY_DIR and, where ./dev test set it, INFENCLAVE_MODELS in its
#   environment. A test that misses something it needs says SKIPPED, and ctest counts it so.
set(INFENCLAVE_TCB_LIBRARIES
    absl::status absl::statusor absl::strings absl::flat_hash_map absl::flat_hash_set absl::synchronization
    OpenSSL::Crypto Threads::Threads dnnl gomp seccomp)
set(INFENCLAVE_SHARED "${CMAKE_SOURCE_DIR}/../shared" CACHE PATH "Photographs, models and vectors that tests read")
set(INFENCLAVE_PYTHON "${CMAKE_SOURCE_DIR}/build/venv/bin/python" CACHE FILEPATH "Interpreter for tests in Python")

function(infenclave_library name)
  cmake_parse_arguments(ARG "TCB" "" "SOURCES;DEPS;LINK" ${ARGN})
  list(FIND INFENCLAVE_MODULES ${name} rank)
  if(rank EQUAL -1)
    message(FATAL_ERROR "${name} is not in INFENCLAVE_MODULES")
  endif()
  set(target infenclave_${name})
  add_library(${target} STATIC ${ARG_SOURCES})
  target_include_directories(${target} PUBLIC "${CMAKE_SOURCE_DIR}/src")
  set_target_properties(${target} PROPERTIES INFENCLAVE_TCB "${ARG_TCB}")
  foreach(dep IN LISTS ARG_DEPS)
    list(FIND INFENCLAVE_MODULES ${dep} dep_rank)
    if(dep_rank EQUAL -1 OR NOT dep_rank LESS rank)
      message(FATAL_ERROR "layering: ${name} may not depend on ${dep}")
    endif()
    get_target_property(dep_tcb infenclave_${dep} INFENCLAVE_TCB)
    if(ARG_TCB AND NOT dep_tcb)
      message(FATAL_ERROR "layering: the trusted module ${name} may not depend on ${dep}, which is outside the TCB")
    endif()
    target_link_libraries(${target} PUBLIC infenclave_${dep})
  endforeach()
  foreach(lib IN LISTS ARG_LINK)
    if(ARG_TCB AND NOT lib IN_LIST INFENCLAVE_TCB_LIBRARIES)
      message(FATAL_ERROR "layering: the trusted module ${name} may not link ${lib}")
    endif()
  endforeach()
  target_link_libraries(${target} PUBLIC ${ARG_LINK})
endfunction()

function(infenclave_test name)
  cmake_parse_arguments(ARG "" "" "SOURCES;DEPS;LINK" ${ARGN})
  add_executable(${name} ${ARG_SOURCES})
  target_include_directories(${name} PRIVATE "${CMAKE_SOURCE_DIR}/src" "${CMAKE_SOURCE_DIR}")
  target_compile_definitions(${name} PRIVATE INFENCLAVE_SHARED_DIR="${INFENCLAVE_SHARED}"
                                             INFENCLAVE_SOURCE_DIR="${CMAKE_SOURCE_DIR}"
                                             INFENCLAVE_BINARY_DIR="${CMAKE_BINARY_DIR}")
  list(TRANSFORM ARG_DEPS PREPEND infenclave_)
  target_link_libraries(${name} PRIVATE ${ARG_DEPS} ${ARG_LINK} GTest::gmock GTest::gtest GTest::gtest_main)
  gtest_discover_tests(${name} DISCOVERY_MODE PRE_TEST DISCOVERY_TIMEOUT 60 PROPERTIES TIMEOUT 600)
endfunction()

function(infenclave_python_test name script)
  if(NOT EXISTS "${INFENCLAVE_PYTHON}")
    message(STATUS "${name}: not registered, for there is no ${INFENCLAVE_PYTHON} (./dev test makes it)")
    return()
  endif()
  add_test(NAME ${name} COMMAND "${INFENCLAVE_PYTHON}" -B "${CMAKE_SOURCE_DIR}/tests/run_script.py"
           "${CMAKE_CURRENT_SOURCE_DIR}/${script}" -v)
  set_tests_properties(${name} PROPERTIES TIMEOUT 600 LABELS python SKIP_RETURN_CODE 77
    ENVIRONMENT "INFENCLAVE_SHARED=${INFENCLAVE_SHARED};INFENCLAVE_BINARY_DIR=${CMAKE_BINARY_DIR};INFENCLAVE_SOURCE_DIR=${CMAKE_SOURCE_DIR}")
endfunction()
