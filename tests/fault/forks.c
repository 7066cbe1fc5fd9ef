/* Forks that Python code cannot make by itself: between the fork and the word to the interpreter
   no bytecode may run, since the child of a process with threads would wait for one of them. */
#include <Python.h>
#include <signal.h>
#include <sys/syscall.h>
#include <unistd.h>

/* As a server that embeds Python does. */
int announced_fork(void) {
    PyOS_BeforeFork();
    int pid = fork();
    if (pid)
        PyOS_AfterFork_Parent();
    else
        PyOS_AfterFork_Child();
    return pid;
}

/* One that neither libc nor Python hears of. */
int bare_clone(void) { return (int)syscall(SYS_clone, SIGCHLD, 0, 0, 0, 0); }

/* Call something from a signal handler at the moment number `wanted` at which Python runs handlers,
   of those from now on, in functions that begin from now on: where one of Python begins or jumps
   back, where one of C has returned, and where one of C looks itself, as one that writes a number
   as text does, which no hook in Python comes into. For that a signal waits all the time. */
static long seen, wanted;
static PyObject *called;

static int look(PyObject *self, PyFrameObject *frame, int what, PyObject *argument) {
    (void)self;
    (void)argument;
    if (what == PyTrace_CALL) {
        /* Python 3.13 asks for both, 3.12 for one that was there before. */
        PyObject_SetAttrString((PyObject *)frame, "f_trace", Py_True);
        PyObject_SetAttrString((PyObject *)frame, "f_trace_opcodes", Py_True);
    }
    if (what == PyTrace_CALL || what == PyTrace_OPCODE || what == PyTrace_C_RETURN)
        PyErr_SetInterruptEx(SIGALRM);
    return 0;
}

/* How many moments there were; no more are counted. */
long interrupt_no_more(void) {
    PyEval_SetProfile(NULL, NULL);
    PyEval_SetTrace(NULL, NULL);
    return seen;
}

/* The handler of that signal. */
void interrupted(int number, PyObject *frame) {
    (void)number;
    (void)frame;
    if (++seen == wanted) {
        interrupt_no_more();
        Py_XDECREF(PyObject_CallNoArgs(called));
    }
}

void interrupt_at(long moment, PyObject *callable) {
    PyObject_SetAttrString((PyObject *)PyEval_GetFrame(), "f_trace_opcodes", Py_True);
    seen = 0;
    wanted = moment;
    called = Py_NewRef(callable);
    PyEval_SetTrace(look, NULL);
    PyEval_SetProfile(look, NULL);
}
