// A driver that does what a test wrote down: libcuda and NVML in one file, with no state and no memory of its own.
//
// $SCRIPTED_DRIVER is a directory. A call named CALL on process PID reads CALL.PID there, else CALL:
//   result N      return N
//   value N       return 0 and give N (a thread id, a state)
//   hang          never return
//   gate N        return N once the file is gone
//   crash         abort the process that called
//   meet N        return 0 once N calls are inside at the same time, 999 if they are not within 20 s
// Without a file it returns 0. Each call is first written to the file `log` as "CALL PID".
// It is for what a real or emulated driver does not do on demand; semantics are tested on the emulated driver.
#include <fcntl.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static atomic_int inside;

static int script(const char *call, int pid, int *value) {
  const char *dir = getenv("SCRIPTED_DRIVER");
  char path[4096], text[64] = "";
  int number = 0;
  snprintf(path, sizeof path, "%s/log", dir);
  int log = open(path, O_WRONLY | O_APPEND | O_CREAT | O_CLOEXEC, 0600);
  if (log >= 0) {
    int length = snprintf(text, sizeof text, "%s %d\n", call, pid);
    if (write(log, text, (size_t)length) != length) abort();
    close(log);
  }
  text[0] = 0;
  snprintf(path, sizeof path, "%s/%s.%d", dir, call, pid);
  FILE *file = fopen(path, "re");
  if (!file) {
    snprintf(path, sizeof path, "%s/%s", dir, call);
    file = fopen(path, "re");
  }
  if (!file) return 0;
  int fields = fscanf(file, "%63s %d", text, &number);
  fclose(file);
  if (fields < 1) return 0;
  if (!strcmp(text, "result")) return number;
  if (!strcmp(text, "value") && value) *value = number;
  if (!strcmp(text, "crash")) abort();
  while (!strcmp(text, "hang")) pause();
  if (!strcmp(text, "gate")) {
    while (access(path, F_OK) == 0) usleep(1000);
    return number;
  }
  if (!strcmp(text, "meet")) {
    atomic_fetch_add(&inside, 1);
    for (int i = 0; i < 20000; i++, usleep(1000))
      if (atomic_load(&inside) >= number) return 0;
    return 999;
  }
  return 0;
}

int cuInit(unsigned flags) { return (int)flags + script("init", 0, NULL); }
int cuDriverGetVersion(int *version) { *version = 13000; return 0; }
int cuDeviceGetCount(int *count) { *count = 1; return 0; }
int cuDeviceGet(int *device, int ordinal) { *device = ordinal; return 0; }
int cuDeviceGetName(char *name, int length, int device) {
  snprintf(name, (size_t)length, "scripted device %d", device);
  return 0;
}
int cuCheckpointProcessGetRestoreThreadId(int pid, int *tid) { *tid = pid; return script("find", pid, tid); }
int cuCheckpointProcessGetState(int pid, int *state) { *state = 0; return script("state", pid, state); }
#ifndef OLD_DRIVER
int cuCheckpointProcessLock(int pid, unsigned *args) {
  char path[64];
  snprintf(path, sizeof path, "lock-timeout-%u", args[0]);
  script(path, pid, NULL);
  return script("lock", pid, NULL);
}
#endif
int cuCheckpointProcessCheckpoint(int pid, void *args) { (void)args; return script("checkpoint", pid, NULL); }
int cuCheckpointProcessRestore(int pid, void *args) { (void)args; return script("restore", pid, NULL); }
int cuCheckpointProcessUnlock(int pid, void *args) { (void)args; return script("unlock", pid, NULL); }

// NVML: one device of 1000 bytes, of which the process in the file `holder` ("value PID") holds 400.
struct memory { unsigned long long total, free, used; };
struct process { unsigned pid; unsigned long long used; unsigned instance, compute; };
int nvmlInitWithFlags(unsigned flags) { return (int)flags + script("nvml-init", 0, NULL); }
int nvmlDeviceGetCount_v2(unsigned *count) { *count = 1; return script("nvml-count", 0, NULL); }
int nvmlDeviceGetHandleByIndex_v2(unsigned index, void **handle) { *handle = &inside; return (int)index; }
int nvmlDeviceGetName(void *handle, char *name, unsigned length) {
  (void)handle;
  snprintf(name, length, "Scripted (emulated)");
  return 0;
}
int nvmlDeviceGetUUID(void *handle, char *uuid, unsigned length) {
  (void)handle;
  snprintf(uuid, length, "GPU-scripted");
  return 0;
}
int nvmlDeviceGetMemoryInfo(void *handle, struct memory *memory) {
  (void)handle;
  int holder = 0;
  script("holder", 0, &holder);
  *memory = (struct memory){1000, holder ? 600 : 1000, holder ? 400 : 0};
  return script("nvml-memory", 0, NULL);
}
int nvmlDeviceGetComputeRunningProcesses_v3(void *handle, unsigned *count, struct process *out) {
  (void)handle;
  int holder = 0;
  script("holder", 0, &holder);
  if (holder && *count < 1) { *count = 1; return 7; }
  if (holder) *out = (struct process){(unsigned)holder, 400, ~0u, ~0u};
  *count = holder != 0;
  return 0;
}
int nvmlSystemGetDriverVersion(char *version, unsigned length) { snprintf(version, length, "580.0"); return 0; }
int nvmlSystemGetNVMLVersion(char *version, unsigned length) { snprintf(version, length, "13.580"); return 0; }
int nvmlDeviceGetMigMode(void *handle, unsigned *now, unsigned *later) { (void)handle; *now = *later = 1; return 0; }
int nvmlDeviceGetComputeMode(void *handle, int *mode) { (void)handle; *mode = 3; return 0; }
const char *nvmlErrorString(int result) { return result ? "scripted failure" : "success"; }
