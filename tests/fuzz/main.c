/* What libFuzzer calls: finds the target in its Python module, and from then on meets no Python. */
#include <Python.h>

typedef int (*Target)(const uint8_t *data, size_t size);

static Target target;

int LLVMFuzzerInitialize(int *argc, char ***argv) {
    PyObject *module, *address;
    (void)argc;
    (void)argv;
    Py_InitializeEx(0);
    module = PyImport_ImportModule("tests.fuzz.target");
    address = module == NULL ? NULL : PyObject_GetAttrString(module, "ADDRESS");
    if (address == NULL) {
        PyErr_Print();
        exit(2);
    }
    target = (Target)PyLong_AsVoidPtr(address);
    return 0;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    return target(data, size);
}
