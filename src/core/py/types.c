/* The helpers of types.h. */
#include "py/types.h"

PyTypeObject *
hl_type_new(PyObject *module, PyType_Spec *spec, PyTypeObject *first,
            PyTypeObject *second)
{
    PyObject *bases = NULL;
    if (second != NULL) {
        bases = PyTuple_Pack(2, first, second);
    }
    else if (first != NULL) {
        bases = PyTuple_Pack(1, first);
    }
    if (bases == NULL && PyErr_Occurred()) {
        return NULL;
    }
    PyObject *type = PyType_FromModuleAndSpec(module, spec, bases);
    Py_XDECREF(bases);
    return (PyTypeObject *)type;
}

int
hl_import(PyObject **slot, PyObject *module, const char *name, bool is_optional)
{
    *slot = PyObject_GetAttrString(module, name);
    if (*slot != NULL) {
        return 0;
    }
    if (!is_optional || !PyErr_ExceptionMatches(PyExc_AttributeError)) {
        return -1;
    }
    PyErr_Clear(); /* AttributeError: this version has no such thing */
    return 0;
}

PyCFunction
hl_method_function(PyTypeObject *type, const char *name, int flags)
{
    PyObject *method = PyObject_GetAttrString((PyObject *)type, name);
    PyCFunction function = NULL;
    if (method == NULL) {
        PyErr_Clear(); /* AttributeError */
        return NULL;
    }
    if (Py_IS_TYPE(method, &PyMethodDescr_Type)) {
        const PyMethodDef *definition = ((PyMethodDescrObject *)method)->d_method;
        if (definition->ml_flags == flags) {
            function = definition->ml_meth; /* static in the extension */
        }
    }
    Py_DECREF(method);
    return function;
}

PyObject *
hl_get_object(PyObject *self, void *closure)
{
    PyObject *value;
    Py_BEGIN_CRITICAL_SECTION(self);
    value = *(PyObject **)((char *)self + (size_t)closure);
    value = Py_NewRef(value != NULL ? value : Py_None);
    Py_END_CRITICAL_SECTION();
    return value;
}

void
hl_exchange_field(PyObject *self, PyObject **field, PyObject *value)
{
    PyObject *old;
    Py_BEGIN_CRITICAL_SECTION(self);
    old = *field;
    *field = Py_XNewRef(value);
    Py_END_CRITICAL_SECTION();
    Py_XDECREF(old);
}
