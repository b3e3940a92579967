/* The least that stepping coroutines can cost: PyIter_Send and nothing else.
 *
 * instructions.py compiles this for the running interpreter and compares a loop's task step with
 * it.  There is no task, no context, no queue and no error handling beyond what is needed to
 * notice a coroutine that ends.
 */
#define PY_SSIZE_T_CLEAN
#include <Python.h>

/* step_all(coroutines: list, turns: int): resume each coroutine once a turn. */
static PyObject *
step_all(PyObject *module, PyObject *args)
{
    PyObject *coroutines;
    Py_ssize_t turns;
    if (!PyArg_ParseTuple(args, "O!n", &PyList_Type, &coroutines, &turns)) {
        return NULL;
    }
    Py_ssize_t count = PyList_GET_SIZE(coroutines);
    while (turns-- > 0) {
        for (Py_ssize_t i = 0; i < count; i++) {
            PyObject *yielded = NULL;
            if (PyIter_Send(PyList_GET_ITEM(coroutines, i), Py_None, &yielded) !=
                PYGEN_NEXT) {
                Py_XDECREF(yielded);
                if (!PyErr_Occurred()) {
                    PyErr_SetString(PyExc_RuntimeError, "a coroutine ended");
                }
                return NULL;
            }
            Py_DECREF(yielded);
        }
    }
    Py_RETURN_NONE;
}

static PyMethodDef methods[] = {
    {"step_all", step_all, METH_VARARGS, "step_all(coroutines, turns)"},
    {NULL, NULL, 0, NULL},
};

static struct PyModuleDef definition = {
    PyModuleDef_HEAD_INIT,
    .m_name = "bare_steps",
    .m_size = 0,
    .m_methods = methods,
};

PyMODINIT_FUNC
PyInit_bare_steps(void)
{
    return PyModule_Create(&definition);
}
