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
