"""Keeps one bare process tree: starts it, outlives hotseat, reaps everything, writes down how it ended.

Run as a program of its own (`python -I -S process_shim.py DIRECTORY`), so it imports nothing of hotseat and little
else. It stays outside the workload's cgroup: freezing the workload does not freeze the shim. Being a child subreaper,
it gets every orphan of the tree, so that a process that made itself a daemon is still found beneath it.

Reads DIRECTORY/workload.json and start.json, writes run.json once the program runs and exit.json when it ended.
Says one line of JSON on stdout: {"pid": ...} or {"error": ...}.
"""

import ctypes
import errno
import fcntl
import json
import os
import resource
import signal
import sys
import time

PR_SET_CHILD_SUBREAPER = 36
PR_SET_NAME = 15


def write(path: str, data: dict[str, object]) -> None:
    with open(path + ".new", "w") as file:
        json.dump(data, file)
        file.flush()
        os.fsync(file.fileno())
    os.replace(path + ".new", path)


def start_time(pid: int) -> int:
    with open(f"/proc/{pid}/stat") as file:
        return int(file.read().rpartition(")")[2].split()[19])


def say(message: dict[str, object]) -> None:
    os.write(1, json.dumps(message).encode() + b"\n")


def become(workload: dict[str, object], start: dict[str, object], directory: str) -> None:
    """In the child: everything between fork and exec."""
    os.setsid()
    for path in start["cgroups"]:  # type: ignore[attr-defined]
        with open(os.path.join(path, "cgroup.procs"), "w") as file:
            file.write("0")
    for number in (signal.SIGPIPE, signal.SIGXFSZ, signal.SIGHUP, signal.SIGINT, signal.SIGTERM):
        signal.signal(number, signal.SIG_DFL)
    signal.pthread_sigmask(signal.SIG_SETMASK, [])
    null = os.open("/dev/null", os.O_RDONLY)
    log = os.open(os.path.join(directory, "log"), os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
    for source, target in ((null, 0), (log, 1), (log, 2)):
        os.dup2(source, target)
    for name, limit in workload["ulimits"].items():  # type: ignore[attr-defined]
        resource.setrlimit(getattr(resource, "RLIMIT_" + name.upper()), (limit, limit))
    os.chdir(str(workload["workdir"] or "/"))
    argv: list[str] = workload["command"]  # type: ignore[assignment]
    os.execvpe(argv[0], argv, start["env"])  # type: ignore[arg-type]


def launch(workload: dict[str, object], start: dict[str, object], directory: str) -> int:
    """The pid, once exec succeeded. OSError if it did not."""
    read_end, write_end = os.pipe()  # closed by exec: end of file means success
    pid = os.fork()
    if pid == 0:
        try:
            become(workload, start, directory)
        except BaseException as error:
            os.write(write_end, f"{type(error).__name__}: {error}".encode())
        os._exit(127)
    os.close(write_end)
    trouble = b""
    while piece := os.read(read_end, 4096):
        trouble += piece
    os.close(read_end)
    if trouble:
        os.waitpid(pid, 0)
        raise OSError(trouble.decode())
    return pid


def wait_for(pid: int) -> int:
    """Reap all that comes until `pid` does. Its exit code, 128 + N if signal N ended it."""
    while True:
        done, status = os.waitpid(-1, 0)
        if done == pid:
            code = os.waitstatus_to_exitcode(status)
            return code if code >= 0 else 128 - code


def kill_the_rest() -> None:
    """What is left of the tree ends with its first process, as in a container. All of it is beneath us."""
    deadline = time.monotonic() + 10.0
    while time.monotonic() < deadline:
        try:
            with open(f"/proc/self/task/{os.getpid()}/children") as file:
                children = [int(word) for word in file.read().split()]
        except OSError:
            children = []
        for child in children:
            os.kill(child, signal.SIGKILL)  # our own unreaped child: the pid cannot be another's
        try:
            while os.waitpid(-1, os.WNOHANG)[0]:
                pass
        except ChildProcessError:
            return
        time.sleep(0.005)


def thaw(cgroups: list[str]) -> None:
    for path in cgroups:
        for name, word in (("freezer.state", "THAWED"), ("cgroup.freeze", "0")):
            knob = os.path.join(path, name)
            if os.path.exists(knob):
                with open(knob, "w") as file:
                    file.write(word)


def remove(cgroups: list[str]) -> None:
    for path in cgroups:
        for _ in range(100):  # the kernel takes a moment to forget the last process
            try:
                os.rmdir(path)
            except OSError as error:
                if error.errno != errno.EBUSY:
                    break
                time.sleep(0.01)
            else:
                break


def detach() -> None:
    """Away from whoever started us, who waits only for the line that we say."""
    if os.fork():
        os._exit(0)
    os.setsid()
    os.chdir("/")
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0) != 0:
        raise OSError(ctypes.get_errno(), "prctl(PR_SET_CHILD_SUBREAPER)")
    libc.prctl(PR_SET_NAME, b"hotseat-shim", 0, 0, 0)
    for number in (signal.SIGHUP, signal.SIGINT, signal.SIGTERM):
        signal.signal(number, signal.SIG_IGN)


def main(directory: str) -> None:
    detach()
    with open(os.path.join(directory, "lock"), "w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return say({"error": "it runs already"})
        with open(os.path.join(directory, "workload.json")) as file:
            workload = json.load(file)
        with open(os.path.join(directory, "start.json")) as file:
            start = json.load(file)
        os.unlink(os.path.join(directory, "start.json"))  # it holds the whole environment
        try:
            pid = launch(workload, start, directory)
        except OSError as error:
            remove(start["cgroups"])
            return say({"error": str(error)})
        run = {
            "pid": pid,
            "start_time": start_time(pid),
            "shim_pid": os.getpid(),
            "shim_start_time": start_time(os.getpid()),
            "boot_id": start["boot_id"],
            "freezer": start["freezer"],
            "started_at": time.time(),
        }
        write(os.path.join(directory, "run.json"), run)
        say({"pid": pid})
        null = os.open("/dev/null", os.O_RDWR)
        for standard in (0, 1, 2):
            os.dup2(null, standard)
        code = wait_for(pid)
        thaw(start["cgroups"])
        kill_the_rest()
        write(os.path.join(directory, "exit.json"), {"code": code, "at": time.time(), "started_at": run["started_at"]})
        remove(start["cgroups"])
    return None


if __name__ == "__main__":
    main(sys.argv[1])
